"""What lies in a folder, for `sg-hub init-target`: images, label maps or classes, patients, spacings, values.

Three ways in which people keep labelled images are known: a folder of images beside one of label maps, a folder for
each class, and a CSV with the columns image and label beside a folder of images.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.io.finder import find_images, find_scans
from sg_hub.io.labels import load_labels, read_label_image
from sg_hub.preprocessing.preprocessing import GREY

from ..data.csv_table import columns_of, read_csv
from ..data.identity import patient_of
from .defaults import dims_of
from .readers.folder import of_case

_LABELS = re.compile(r"(labels?|masks?|seg(mentation)?s?|annotations?|gt|ground.?truth|outlines?)(tr)?", re.IGNORECASE)
"""Names of a folder of label maps."""
_NUMBER = re.compile(r"[-_./][A-Za-z]?\d+$")
"""At the end of a name: which of a patient's images it is."""
_MOST = 20
"""Images and label maps that are looked into."""
_AIR = -200.0
"""HU: a scan with values below it is taken for CT."""
_EXPECTED = (
    "expected a folder of images beside one of label maps (images/ and labels/, files of the same names), or a folder "
    "for each class, or a CSV with the columns image and label beside the images"
)


@dataclass
class Look:
    """What was found in a folder."""

    root: Path
    dims: int
    images: str
    """Folder of the images, below the root."""
    files: dict[str, Path]
    labels: str = ""
    """Folder of the label maps."""
    masks: dict[str, Path] = field(default_factory=dict)
    """The label map of each image that has one."""
    unused: list[str] = field(default_factory=list)
    """Label maps that no image has."""
    without: list[str] = field(default_factory=list)
    """Images that have no label map."""
    values: Counter[int] = field(default_factory=Counter)
    """Numbers in the label maps, and in how many of those that were looked into."""
    present: dict[str, set[int]] = field(default_factory=dict)
    """The numbers of each of them."""
    table: str = ""
    """CSV of the classes."""
    classes: dict[str, int] = field(default_factory=dict)
    """Of a classification, and how many images each has."""
    exclusive: bool = True
    """Whether each image is of one class; else of any number of findings."""
    blank: int = 0
    """Rows of the CSV without a class."""
    rows: list[tuple[str, str]] = field(default_factory=list)
    """Image and class, where a folder is a class: a CSV has to say it."""
    patients: dict[str, str] = field(default_factory=dict)
    """Whose each image is, where names or the table say it; else each is of another patient."""
    whose: str = "by their names"
    """How that is known."""
    lines: list[str] = field(default_factory=list)
    """What the images are like."""
    is_ct: bool = True
    channels: int = 1
    """The most of an image; of pictures 3 where one of them is in colour."""
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def segments(self) -> bool:
        return bool(self.labels)


def look(root: str | Path) -> Look:
    """Look at a folder; of many images the first ones are read.

    Raises:
        ReadError: no such folder, or nothing in it.
        InvalidInputError: images without labels, or two of one name.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ReadError(f"{root} is no folder: give the one that holds your images and their labels")
    found = _pairs(root) or _table(root) or _class_folders(root)
    if found is None:
        files = _files(root, dims_of(root))
        if not files:
            raise ReadError(f"{root} holds no image that can be read; {_EXPECTED}")
        count = f"{len(files)} image{'s' * (len(files) != 1)}"
        tables = "".join(f"; {path.name} has the columns {header}" for path, header in _headers(root).items())
        raise InvalidInputError(f"{root} holds {count}, and nothing that says what is in them; {_EXPECTED}{tables}")
    if not found.table:
        found.patients = patients_of(found.files, in_classes=bool(found.rows))
        said = {name: patient for name, path in found.files.items() if (patient := patient_of(path))}
        if said:
            found.patients = {name: said.get(name, name) for name in found.files}
            found.whose = "by the PatientID of DICOM files"
    _read_images(found)
    if found.segments:
        _read_labels(found)
    return found


def _files(folder: Path, dims: int) -> dict[str, Path]:
    return (find_scans if dims == 3 else find_images)(folder)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pairs(root: Path) -> Look | None:
    """A folder of label maps, and of the others the one that has images for most of them."""
    folders = _folders(root)
    masks = next((path for path in folders if _LABELS.fullmatch(path.name)), None)
    if masks is None:
        return None
    others = [path for path in folders if path != masks and not _LABELS.fullmatch(path.name)]
    found = [(path, dims := dims_of(path), _files(path, dims)) for path in others]
    named = _files(masks, dims_of(masks))
    pairs = [{name: mask for name in files if (mask := of_case(name, files, named))} for _, _, files in found]
    nothing: tuple[dict[str, Path], Any] = {}, (None, 3, {})
    paired, (images, dims, files) = max(zip(pairs, found, strict=True), key=lambda one: len(one[0]), default=nothing)
    if images is None or not paired:
        some = f"{next(iter(files), 'none')} and {next(iter(named), 'none')}"
        raise InvalidInputError(
            f"{masks} looks like a folder of label maps, and no folder beside it has images of the same names (there "
            f"are {some}): give each label map the name of its image"
        )
    without = sorted(files.keys() - paired.keys())
    used = {*paired.values()}
    unused = [name for name, path in named.items() if path not in used]
    return Look(root, dims, images.name, files, labels=masks.name, masks=paired, without=without, unused=unused)


def _table(root: Path) -> Look | None:
    """A CSV with the columns image and label."""
    for path, header in _headers(root).items():
        if not {"image", "label"} <= {name.lower() for name in header}:
            continue
        folder = next((one for one in _folders(root) if _files(one, dims_of(one))), root)
        dims = dims_of(folder)
        rows = read_csv(path, ("image", "label"), ("patient", "split"))
        labels = [row["label"] for row in rows]
        _check_classes(path, labels)
        patients = {row["image"]: row["patient"] for row in rows if row.get("patient")}
        several = any("|" in label or not label for label in labels)
        counts = Counter(part for label in labels for part in label.split("|") if part)
        images = "." if folder == root else folder.name
        named = dict(sorted(counts.items()))
        found = Look(root, dims, images, _files(folder, dims), table=path.name, classes=named, exclusive=not several)
        found.patients, found.whose, found.blank = patients, "as the table says", labels.count("")
        return found
    return None


def _headers(root: Path) -> dict[Path, list[str]]:
    """The columns of each CSV."""
    found = {}
    for path in sorted(path for suffix in ("csv", "tsv") for path in root.glob(f"*.{suffix}")):
        found[path] = columns_of(path, ("image", "label"))
    return found


def _check_classes(path: Path, labels: Sequence[str]) -> None:
    """Refuse measurements, which would be a class each."""
    try:
        measured = next((label for label in labels if not float(label.replace(",", ".")).is_integer()), None)
    except ValueError:  # a word among them
        return
    if measured is not None:
        raise InvalidInputError(
            f"{path}: label {measured!r}: numbers with fractions are measurements, and a target has classes: put them "
            "into ranges, such as low and high"
        )


def _class_folders(root: Path) -> Look | None:
    """A folder for each class."""
    folders = [path for path in _folders(root) if _files(path, dims_of(path))]
    if len(folders) < 2:
        return None
    dims = dims_of(root)
    files = {f"{folder.name}/{name}": path for folder in folders for name, path in _files(folder, dims).items()}
    rows = [(path.relative_to(root).as_posix(), name.partition("/")[0]) for name, path in files.items()]
    return Look(root, dims, ".", files, classes=dict(Counter(label for _, label in rows)), rows=rows)


def patients_of(names: Iterable[str], *, in_classes: bool = False) -> dict[str, str]:
    """Whose each image is, where names end in a number that only tells apart what one patient has: P07_1 and P07_2, or
    P07/1 and P07/2.

    The part in front of it must hold a number itself (else it is a word such as `case`), and at least one patient must
    have several images. Otherwise nothing is said.

    Args:
        in_classes: the first folder is a class, which says nothing: an image of either may be of one patient.
    """
    own = {name: name.partition("/")[2] if in_classes else name for name in names}
    stems = {name: _NUMBER.sub("", text) for name, text in own.items()}
    cut = {stem for name, stem in stems.items() if stem != own[name]}
    patients = {name: stem if stem in cut else name for name, stem in stems.items()}
    numbered = all(re.search(r"\d[^/]*$", stem) for stem in stems.values())
    return patients if numbered and 1 < len({*patients.values()}) < len(patients) else {}


def _read_images(found: Look) -> None:
    """Sizes, spacings and values of the first images."""
    sizes: Counter[tuple[int, ...]] = Counter()
    spacings, low, high = [], np.inf, -np.inf
    for name, path in list(found.files.items())[:_MOST]:
        try:
            if found.dims == 3:
                scan = sg_hub.load_scan(path)
                array, spacing = scan.array, scan.spacing
                found.channels = max(found.channels, len(array))
                spacings.append(spacing)
                sizes[scan.size] += 1
            else:
                array = sg_hub.load_image(path).array
                sizes[array.shape[1:]] += 1
                if np.ptp(array, axis=0).max() > GREY:
                    found.channels = len(array)
        except SgHubError as error:
            found.unreadable[name] = str(error)
            continue
        low, high = min(low, float(array.min())), max(high, float(array.max()))
    if not sizes:
        return
    ranges = zip(np.min(list(sizes), axis=0), np.max(list(sizes), axis=0), strict=True)
    shown = " x ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in ranges)
    found.lines = [f"size {shown} {'voxels' if found.dims == 3 else 'pixels'}", f"values {low:g} to {high:g}"]
    if spacings:
        middle = np.median(spacings, axis=0)
        found.lines.insert(
            1, f"spacing {' x '.join(f'{value:.3g}' for value in middle)} mm (the middle one of each axis)"
        )
        found.is_ct = low < _AIR


def _read_labels(found: Look) -> None:
    """The numbers of the first label maps."""
    for name, mask in list(found.masks.items())[:_MOST]:
        try:
            labels = load_labels(mask).array if found.dims == 3 else read_label_image(mask)
        except SgHubError as error:
            found.unreadable[f"{found.labels}/{name}"] = str(error)
            continue
        found.present[name] = {int(value) for value in np.unique(labels)}
        found.values.update(found.present[name])


def names_of_values(root: Path, values: Sequence[int]) -> dict[int, str]:
    """What the numbers of the label maps are called: as dataset.json says (nnU-Net, Decathlon), else by number."""
    try:
        said = json.loads((root / "dataset.json").read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        said = {}
    names: dict[int, str] = {}
    for key, value in said.items() if isinstance(said, dict) else ():
        number, name = (key, value) if str(key).isdigit() else (value, key)
        if str(number).isdigit() and isinstance(name, str):
            names[int(number)] = name
    return {value: names.get(value, f"class {value}") for value in values}
