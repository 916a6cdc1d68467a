"""Small data sets in exactly the form in which their users download them, for the tests of the targets."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from training.targets import Target, load_target

LUNA_HEADER = ("seriesuid", "coordX", "coordY", "coordZ", "class")
NAMESPACE = "http://www.nih.gov"


def target_at(name: str, root: Path, *overrides: str) -> Target:
    return load_target(name, [f"root={root}", *overrides])


def write_csv(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_scan(
    path: Path,
    array: np.ndarray,
    spacing=(1.0, 1.0, 1.0),
    origin=(0.0, 0.0, 0.0),
    direction=(1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> None:
    """A volume (X, Y, Z) of the file's own axes."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def luna16(root: Path, scans: int = 10, candidates: int = 4) -> dict[str, np.ndarray]:
    """One scan in each subset; a voxel of a nodule is 300 HU, of any other candidate 100, everything else air."""
    arrays, rows = {}, []
    rng = np.random.default_rng(0)
    for number in range(scans):
        series = f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{1000 + number}"
        array = np.full((40, 36, 24), -900, dtype=np.int16)
        origin, spacing = (-20.0 - number, -15.0, 100.0), (0.8, 0.8, 2.0)
        for k in range(candidates):
            voxel = rng.integers((4, 4, 4), (36, 32, 20))
            array[tuple(voxel)] = 300 if k == 0 else 100
            rows.append((series, *(np.array(origin) + voxel * spacing).tolist(), int(k == 0)))
        write_scan(root / f"subset{number}" / f"{series}.mhd", array, spacing, origin)
        arrays[series] = array
    write_csv(root / "candidates_V2.csv", LUNA_HEADER, rows)
    return arrays


def lits(root: Path, numbers: tuple[int, ...], shape=(24, 24, 20)) -> None:
    for number in numbers:
        labels = np.zeros(shape, dtype=np.uint8)
        labels[4:14, 5:15, 6:12], labels[6:8, 6:8, 7:9] = 1, 2
        image = np.where(labels > 0, 100, -500).astype(np.int16)
        folder = root / ("Training Batch 1" if number < 28 else "Training Batch 2")
        write_scan(folder / f"volume-{number}.nii", image)
        write_scan(folder / f"segmentation-{number}.nii", labels)


def brats2018(root: Path, names: dict[str, str]) -> None:
    """Items by name, each in HGG or LGG."""
    for name, grade in names.items():
        labels = np.zeros((20, 20, 16), dtype=np.uint8)
        labels[4:12, 4:12, 4:10], labels[6:8, 6:8, 6:8], labels[8:10, 8:10, 6:8] = 2, 1, 4
        image = (labels > 0) * 400 + np.random.default_rng(1).integers(0, 50, labels.shape)
        folder = root / "MICCAI_BraTS_2018_Data_Training" / grade / name
        for kind in ("flair", "t1", "t1ce", "t2"):
            write_scan(folder / f"{name}_{kind}.nii.gz", image.astype(np.int16))
        write_scan(folder / f"{name}_seg.nii.gz", labels)


def chestxray14(root: Path, patients: int = 12) -> list[str]:
    """Two images of every patient; the findings take turns; the last third of the patients is for test."""
    names, rows = [], []
    findings = ("No Finding", "Effusion", "Effusion|Mass", "Hernia")
    for patient in range(1, patients + 1):
        for visit in range(2):
            name = f"{patient:08d}_{visit:03d}.png"
            pixels = np.random.default_rng(patient).integers(0, 255, (48, 48)).astype(np.uint8)
            folder = root / f"images_{1 + patient % 2:03d}" / "images"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name)
            finding = findings[(patient + visit) % 4]
            rows.append((name, finding, visit, patient, "058Y", "M", "PA", 2682, 2749, 0.143, 0.143))
            names.append(name)
    header = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender")
    header += ("View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]")
    write_csv(root / "Data_Entry_2017.csv", header, rows)
    cut = len(names) * 2 // 3
    (root / "train_val_list.txt").write_text("\n".join(names[:cut]), encoding="utf-8")
    (root / "test_list.txt").write_text("\n".join(names[cut:]) + "\n", encoding="utf-8")
    return names


def dicom(path: Path, pixels: np.ndarray, tags: dict[str, str], spacing=(1.0, 1.0)) -> None:
    """One DICOM slice or X-ray of (rows, columns)."""
    image = sitk.GetImageFromArray(pixels)
    image.SetSpacing(spacing)
    for key, value in tags.items():
        image.SetMetaData(key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def siim_acr(root: Path, images: dict[str, tuple[str, list[str]]], size: tuple[int, int] = (40, 32)) -> None:
    """Images by name, each with its PatientID and its rows of EncodedPixels."""
    rows = []
    for number, (name, (patient, masks)) in enumerate(images.items()):
        pixels = np.random.default_rng(number).integers(0, 255, size).astype(np.uint8)
        tags = {"0010|0020": patient, "0008|0060": "CR", "0008|0018": f"1.2.276.{number + 1}"}
        dicom(root / "dicom-images-train" / f"study{number}" / f"series{number}" / f"{name}.dcm", pixels, tags)
        rows += [(name, mask) for mask in masks]
    write_csv(root / "train-rle.csv", ("ImageId", " EncodedPixels"), [(name, f" {mask}") for name, mask in rows])


def square(low: int, high: int) -> list[tuple[int, int]]:
    """The pixels of a square outline from low to high, in order, closed like LIDC-IDRI's."""
    side = range(low, high)
    edge = [(x, low) for x in side] + [(high, y) for y in side]
    edge += [(x, high) for x in range(high, low, -1)] + [(low, y) for y in range(high, low, -1)]
    return [*edge, edge[0]]


def roi(z: float, points: list[tuple[int, int]], inclusion: str = "TRUE") -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    return (
        f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>1.2.3</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{edges}</roi>"
    )


def nodule(name: str, rois: list[str], malignancy: int | None = 3) -> str:
    traits = f"<characteristics><subtlety>5</subtlety><malignancy>{malignancy}</malignancy></characteristics>"
    return (
        f"<unblindedReadNodule><noduleID>{name}</noduleID>{traits if malignancy else ''}{''.join(rois)}"
        "</unblindedReadNodule>"
    )


def lidc_xml(path: Path, series: str, sessions: list[list[str]]) -> None:
    """One reading session per reader, of nodules that `nodule` made."""
    text = "".join(
        f"<readingSession><annotationVersion>3.12</annotationVersion><servicingRadiologistID>r{i}</servicingRadiologistID>"
        f"{''.join(nodules)}<nonNodule><nonNoduleID>n{i}</nonNoduleID><imageZposition>1</imageZposition>"
        "<imageSOP_UID>1.2.3</imageSOP_UID><locus><xCoord>1</xCoord><yCoord>1</yCoord></locus></nonNodule></readingSession>"
        for i, nodules in enumerate(sessions)
    )
    header = (
        "<ResponseHeader><Version>1.8.1</Version><MessageId>1</MessageId><StudyInstanceUID>1.2</StudyInstanceUID>"
        f"<SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage uid="1.3" xmlns="{NAMESPACE}">{header}{text}'
        "</LidcReadMessage>",
        encoding="utf-8",
    )


def lidc_scan(folder: Path, series: str, shape=(48, 44, 12), spacing=(0.7, 0.7, 2.5), first_z=-100.0) -> np.ndarray:
    """A CT series of slices (columns, rows, slices), named in no order of position; returns HU (X, Y, Z)."""
    array = np.full(shape, -800, dtype=np.int16)
    array[10:20, 12:22, 4:8] = 50
    for k in range(shape[2]):
        z = first_z + k * spacing[2]
        tags = {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{series}.{k + 1}",
            "0020|000d": f"{series}.9",
            "0020|000e": series,
            "0020|0032": f"-100\\-120\\{z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(k + 1),
            "0018|0050": str(spacing[2]),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        dicom(folder / f"{(k * 7) % shape[2]:06d}.dcm", array[:, :, k].T, tags, spacing[:2])
    return array


def lidc_patches(root: Path, patients: int = 16, side: int = 16) -> None:
    """Both files of patches: a bright blob in the middle is a nodule, one at the border is none."""
    rng = np.random.default_rng(3)
    slices, masks, offset, nodules, candidates, others = [], [], [0], [], [], []
    rows, columns = np.mgrid[:side, :side]
    for patient in range(1, patients + 1):
        radius = 2 + patient % 3
        for k in range(2):
            centre = (side // 2, side // 2) if k == 0 else (2, 2)
            blob = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
            patch = np.where(blob, 200, 60) + rng.integers(0, 40, (4, side, side))
            others.append(patch.astype(np.uint8))
            candidates.append((patient, k, 1 - k, 2.0 * radius * (1 - k), 0.7, 2.5))
            if k == 0:
                slices.append(patch.astype(np.uint8))
                masks.append(np.broadcast_to(blob * 0b0111, patch.shape).astype(np.uint8))
                offset.append(offset[-1] + 4)
                malignancy = (1, 2, 4, 5)[patient % 4]
                nodules.append((patient, 0, 3, malignancy, malignancy, 2.0 * radius, 0.7, 2.5, 1, 1))
    root.mkdir(parents=True, exist_ok=True)
    names = ("patient", "nodule", "n_annot", "mal_mean", "mal_median", "diam_mm", "spacing_mm", "thickness_mm")
    np.savez(
        root / "nodules.npz",
        image=np.concatenate(slices),
        mask=np.concatenate(masks),
        offset=np.array(offset),
        table=np.array(nodules, dtype=float),
        columns=np.array([*names, "slices_match", "masks_match"]),
    )
    np.savez(
        root / "candidates.npz",
        image=np.concatenate(others),
        offset=4 * np.arange(len(others) + 1),
        table=np.array(candidates, dtype=float),
        columns=np.array(["patient", "nodule", "is_nodule", "diam_mm", "spacing_mm", "thickness_mm"]),
    )


CT = {"0": "CT"}
LIVER = {"background": 0, "liver": 1, "tumour": 2}


def nnunet(folder: Path, cases=6, channels=CT, ending=".nii.gz", labels=LIVER, tests=0) -> Path:
    """Cases of two time points a patient: a box of liver with a smaller one of tumour in it."""
    rng = np.random.default_rng(0)
    for number in range(cases + tests):
        kind, case = ("Tr" if number < cases else "Ts"), f"pat{number // 2}_{number % 2}"
        label = np.zeros((16, 14, 10), dtype=np.uint8)
        label[4:12, 4:10, 3:8], label[6:8, 5:7, 4:6] = 1, 2
        write_scan(folder / f"labels{kind}" / f"{case}{ending}", label, spacing=(2, 2, 3))
        for channel in range(len(channels)):
            image = rng.integers(-900, 900, label.shape).astype(np.int16) + 100 * channel
            write_scan(folder / f"images{kind}" / f"{case}_{channel:04d}{ending}", image, spacing=(2, 2, 3))
    told = {"channel_names": channels, "labels": labels, "numTraining": cases, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps(told))
    return folder


def bids(folder: Path) -> Path:
    """Six subjects, the first four with two sessions; label maps of a manual and of an automatic segmentation."""
    rows = ["participant_id\tage\tdiagnosis"]
    for number in range(6):
        subject = f"sub-{number:02d}"
        rows.append(f"{subject}\t{40 + number}\t{('control', 'patient')[number % 2] if number < 5 else 'n/a'}")
        for session in ("ses-1", "ses-2") if number < 4 else ("ses-1",):
            stem = f"{subject}_{session}"
            for place in (f"anat/{stem}_T1w", f"anat/{stem}_FLAIR", f"func/{stem}_task-rest_bold"):
                image = np.random.default_rng(number).integers(1, 900, (12, 10, 8)).astype(np.int16)
                write_scan(folder / subject / session / f"{place}.nii.gz", image)
            manual, fast = (folder / "derivatives" / name / subject / session / "anat" for name in ("manual", "fast"))
            bids_labels(manual / f"{stem}_space-T1w_desc-lesion_mask.nii.gz")
            bids_labels(fast / f"{stem}_dseg.nii.gz", 1 + number % 2)
            bids_labels(fast / f"{stem}_space-MNI152NLin6Asym_dseg.nii.gz")
    (folder / "participants.tsv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def bids_labels(path: Path, number=1) -> None:
    """A box of 32 voxels."""
    array = np.zeros((12, 10, 8), dtype=np.uint8)
    array[2:6, 3:7, 2:4] = number
    write_scan(path, array)
