"""A target that is ready for trials: what is left out, what is refused, and what its key holds."""

import hashlib
import json
import shutil
import unicodedata

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from sg_hub import SemanticGenesis3D
from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.target_folders import lidc_patches, lidc_scan, target_at, write_csv, write_scan
from training.data.identity import image_hashes
from training.data.leakage import patient_hashes
from training.targets import in_parts, load_target
from training.trials.task.content_hashes import content_hash
from training.trials.task.initialisation import look_up
from training.trials.task.prepared_task import find_items, read_items, scored_classes

TOML = """
reader = "folder"
name = "mine"
dims = {dims}
root = "."
head = "segmentation"
metric = "iou"
classes = ["spot"]
{more}
[grid]
size = [16, 16{depth}]
"""


def scans(folder, count=12, more="values = { spot = 5 }"):
    """A task of one's own: scans with a bright spot, 5 in the label maps."""
    for k in range(count):
        image = np.random.default_rng(k).integers(-900, 0, (16, 16, 8)).astype(np.int16)
        label = np.zeros(image.shape, dtype=np.uint8)
        image[4:8, 5:9, 2:6], label[4:8, 5:9, 2:6] = 400, 5
        write_scan(folder / "images" / f"p{k:02d}.nii.gz", image)
        write_scan(folder / "labels" / f"p{k:02d}.nii.gz", label)
    (folder / "mine.toml").write_text(TOML.format(dims=3, depth=", 8", more=more), encoding="utf-8")
    return str(folder / "mine.toml")


def initialisation(folder, **provenance):
    """Small untrained weights that say this of themselves."""
    SemanticGenesis3D(width=2, num_classes=3, provenance=provenance).save_pretrained(folder)
    return look_up(str(folder))


def task_of(name, out, *overrides):
    return read_items(find_items(load_target(name, overrides), []), out, progress=False)


def test_a_relative_root_is_beside_its_file(tmp_path, monkeypatch):
    name = scans(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert len(task_of(name, tmp_path / "out").items) == 12
    assert len(find_items(load_target("mine/mine.toml"), []).found.items) == 12
    with pytest.raises(ReadError, match="is no folder"):
        find_items(load_target(name, ["root=."]), [])  # on the command line it is of the current folder


def test_a_changed_file_is_read_again_and_gives_another_key(tmp_path):
    name, out = scans(tmp_path), tmp_path / "out"
    before = task_of(name, out)
    item = before.items[0]
    assert int(before.arrays[item][1].sum()) == 4 * 4 * 4
    same = task_of(name, out)
    assert same.key == before.key
    label = sitk.ReadImage(str(item.label))
    smaller = sitk.GetArrayFromImage(label)
    smaller[:, :6] = 0
    changed = sitk.GetImageFromArray(smaller)
    changed.CopyInformation(label)
    sitk.WriteImage(changed, str(item.label))
    after = task_of(name, out)
    assert int(after.arrays[item][1].sum()) == 4 * 3 * 4
    assert after.key != before.key
    copy = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "images", copy / "images")
    shutil.copytree(tmp_path / "labels", copy / "labels")
    assert task_of(name, tmp_path / "other", f"root={copy}").key == after.key  # the same files in another place


def test_unreadable_items_are_left_out_and_named(tmp_path):
    name, out = scans(tmp_path), tmp_path / "out"
    bad = tmp_path / "images" / "p03.nii.gz"
    bad.write_bytes(bad.read_bytes()[:200])
    task = task_of(name, out)
    assert len(task.items) == 11
    assert "p03" in (out / "skipped" / "mine.csv").read_text(encoding="utf-8")
    for number in (1, 2):
        (tmp_path / "images" / f"p0{number}.nii.gz").write_bytes(b"nothing")
    with pytest.raises(InvalidInputError, match="3 of 12 items cannot be read, such as p01"):
        task_of(name, out)
    assert len(task_of(name, out, 'exclude=["p01", "p02"]').items) == 9


def test_a_class_that_no_label_map_has_is_refused(tmp_path):
    name = scans(tmp_path, more="values = { spot = 4 }\nbackground = [5]")
    with pytest.raises(InvalidInputError, match=r"no label map of the train part .* has the class 'spot'"):
        task_of(name, tmp_path / "out")


def test_a_value_that_no_class_has_is_refused_even_in_one_file(tmp_path):
    name = scans(tmp_path, count=24)
    label = sitk.ReadImage(str(tmp_path / "labels" / "p03.nii.gz"))
    label[0, 0, 0] = 9
    sitk.WriteImage(label, str(tmp_path / "labels" / "p03.nii.gz"))
    with pytest.raises(InvalidInputError, match=r"p03\.nii\.gz holds the values 9, which no class of target mine has"):
        task_of(name, tmp_path / "out")
    for background in ("background=[9]", "background=others"):
        assert len(task_of(name, tmp_path / "out", background).items) == 24


def test_black_and_white_masks_need_their_value(tmp_path):
    for k in range(12):
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir(exist_ok=True)
            pixels = np.random.default_rng(k).integers(0, 90, (16, 16)).astype(np.uint8)
            if kind == "labels":
                pixels = np.where(np.indices((16, 16)).sum(0) > 20, 255, 0).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{k}.png")
    (tmp_path / "mine.toml").write_text(TOML.format(dims=2, depth="", more=""), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="holds the values 255, which no class"):
        task_of(str(tmp_path / "mine.toml"), tmp_path / "out")
    task = task_of(str(tmp_path / "mine.toml"), tmp_path / "out", "values={spot = 255}")
    assert set(task.arrays[task.items[0]][1].unique().tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('values = { spto = 5 }', "'spto' is none of the classes"),
        ('values = { spot = 5 }\nexclude = ["p77"]', "there is no item 'p77'"),
    ],
)  # fmt: skip
def test_names_that_mean_nothing_are_refused(tmp_path, more, said):
    with pytest.raises(InvalidInputError, match=said):
        find_items(load_target(scans(tmp_path, more=more)), [])


@pytest.mark.parametrize("name", ["lcs", "bms", "openkbp-organs"])
def test_every_class_needs_its_values(name):
    with pytest.raises(InvalidInputError, match=r"values: .*'another'"):
        load_target(name, ['classes=["another"]'])


def test_a_split_is_given_for_all_items_or_for_none(tmp_path):
    name = scans(tmp_path, more='values = { spot = 5 }\ntable = "table.csv"')
    parts = ["test"] * 3 + ["train"] * 7 + ["validation", ""]
    write_csv(tmp_path / "table.csv", ("image", "split"), [(f"p{k:02d}.nii.gz", part) for k, part in enumerate(parts)])
    with pytest.raises(InvalidInputError, match="1 of 12 items have no split, such as p11"):
        load_target(name).split_items()


def test_images_in_subfolders_and_as_dicom(tmp_path):
    name = scans(tmp_path, 3)
    for kind in ("images", "labels"):
        (tmp_path / kind / "site").mkdir()
        shutil.move(tmp_path / kind / "p02.nii.gz", tmp_path / kind / "site" / "p02.nii.gz")
        (tmp_path / kind / "._p00.nii.gz").write_bytes(b"left by a file manager")
    lidc_scan(tmp_path / "images" / "dicom", "1.2.3.4")
    label = np.zeros((48, 44, 12), dtype=np.uint8)
    label[10:20, 12:22, 4:8] = 5
    write_scan(tmp_path / "labels" / "dicom.nii.gz", label, (0.7, 0.7, 2.5), (-100, -120, -100))
    target = load_target(name)
    found = target.split_items()
    assert [item.name for item in found.items] == ["dicom", "p00", "p01", "site/p02"]
    loaded = target.load(found.items[0])
    assert loaded.image[0][loaded.label == 1].mean() > loaded.image[0][loaded.label == 0].mean() + 0.3
    shutil.copy(tmp_path / "images" / "p00.nii.gz", tmp_path / "images" / "p00.nrrd")
    with pytest.raises(InvalidInputError, match="have the same name"):
        load_target(name).split_items()


def test_a_table_may_name_images_from_the_root(tmp_path):
    name = scans(tmp_path, more='values = { spot = 5 }\ntable = "table.csv"')
    rows = [(f"images/p{k:02d}.nii.gz",) for k in range(11)] + [("other/p11.nii.gz",)]
    write_csv(tmp_path / "table.csv", ("image",), rows)
    found = load_target(name).split_items()
    assert len(found.items) == 11
    assert "not in" in found.skipped["other/p11.nii.gz"]


def test_overrides_of_one_target_alone(tmp_path):
    lidc_patches(tmp_path / "data" / "lidc", patients=12)
    shipped = load_target("lidc-nodules").settings.steps
    for mine, steps in (("lidc-nodules:settings.steps=7", 7), ("lidc-candidates:settings.steps=7", shipped)):
        target = load_target("lidc-nodules", ["crop=16", mine], tmp_path / "data")
        assert target.settings.steps == steps


def test_the_data_folder_is_that_of_shipped_targets(tmp_path):
    name = scans(tmp_path / "data")
    assert len(load_target(name, data=tmp_path / "nowhere").split_items().items) == 12


def test_a_file_that_may_not_be_read_is_one_unreadable_item(tmp_path, monkeypatch):
    name, real = scans(tmp_path), content_hash

    def forbidden(path):
        if path.name == "p03.nii.gz":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("training.trials.task.content_hashes.content_hash", forbidden)
    task = task_of(name, tmp_path / "out")
    assert len(task.items) == 11
    assert "may you read it" in task.skipped["p03"]


def test_a_split_file_is_beside_its_target_and_its_place_does_not_matter(tmp_path):
    rows = [(f"p{k:02d}", "test" if k < 3 else "validation" if k < 5 else "train") for k in range(12)]
    keys = []
    for place in ("here", "there"):
        name = scans(tmp_path / place)
        write_csv(tmp_path / place / "parts.csv", ("patient", "split"), rows)
        (tmp_path / place / "mine.toml").open("a", encoding="utf-8").write('[splits]\nfile = "parts.csv"\n')
        task = task_of(name, tmp_path / place / "out")
        keys.append(task.key)
        assert [item.split for item in task.items] == [part for _, part in rows]
    assert keys[0] == keys[1]


def test_a_target_written_on_windows(tmp_path):
    name = scans(tmp_path, more='values = { spot = 5 }\ntable = "table.csv"')
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "mine.toml").read_bytes())
    write_csv(tmp_path / "table.csv", ("image",), [(f"images\\p{k:02d}.nii.gz",) for k in range(12)])
    assert len(load_target(name).split_items().items) == 12


def test_cases_are_found_whatever_they_are_called(tmp_path):
    """Slices named by their UID, in a folder that is a link; and a table that composes names in another way."""
    name = scans(tmp_path, 3, more='values = { spot = 5 }\ntable = "table.csv"')
    lidc_scan(tmp_path / "elsewhere", "1.2.3.4")
    for file in (tmp_path / "elsewhere").glob("*.dcm"):
        file.rename(file.with_name(f"CT.1.2.826.{file.stem}"))
    (tmp_path / "images" / "Zoë").symlink_to(tmp_path / "elsewhere")
    label = np.zeros((48, 44, 12), dtype=np.uint8)
    label[10:20, 12:22, 4:8] = 5
    decomposed = unicodedata.normalize("NFD", "Zoë")
    write_scan(tmp_path / "labels" / f"{decomposed}.nii.gz", label, (0.7, 0.7, 2.5), (-100, -120, -100))
    write_csv(tmp_path / "table.csv", ("image", "patient"), [(decomposed, "a"), ("p00", "b"), ("p01", "c")])
    found = load_target(name).split_items()
    assert [item.name for item in found.items] == [unicodedata.normalize("NFC", "Zoë"), "p00", "p01"]


# -- which classes are scored ------------------------------------------------------------------------------------------


def test_a_part_without_positives_is_refused_before_training(patches):
    target = target_at("lidc-candidates", patches, "grid.size=[16, 16, 8]")
    items = [item for item in target.split_items().items if item.split != "test" or item.label == 0]
    with pytest.raises(InvalidInputError, match="lidc-candidates, test part: no AUC: of 5 items, no class has 1"):
        scored_classes(target, items)


def test_the_step_is_chosen_by_the_findings_that_are_tested(tmp_path):
    """Findings that only one of the two parts has enough of are in neither mean."""
    names = ("both", "test alone", "validation alone", "nowhere")
    counts = {"validation": (3, 1, 9, 0), "test": (6, 9, 5, 0)}  # of at least 6 in the test part, 2 in validation
    rows = []
    for part in ("train", "validation", "test"):
        for number in range(12):
            having = [name for name, count in zip(names, counts.get(part, (1, 1, 1, 1)), strict=True) if number < count]
            rows.append((f"{part}{number}.png", "|".join(having), part))
    (tmp_path / "images").mkdir()
    for name, *_ in rows:
        pixels = np.random.default_rng(len(name)).integers(0, 255, (32, 32)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    write_csv(tmp_path / "t.csv", ("image", "label", "split"), rows)
    (tmp_path / "t.toml").write_text(
        'reader = "folder"\nname = "t"\nroot = "."\ndims = 2\nhead = "classification"\nmetric = "auc"\n'
        f'table = "t.csv"\nexclusive = false\nmin_positives = 6\nclasses = {json.dumps(names)}\n'
        "grid = { size = [32, 32] }\n",
        encoding="utf-8",
    )
    task = task_of(str(tmp_path / "t.toml"), tmp_path / "out")
    assert task.scored == ("both",)
    with pytest.raises(InvalidInputError, match=r"test part: .* \(test alone have too few validation items\)"):
        task_of(str(tmp_path / "t.toml"), tmp_path / "out", "min_positives=8")


# -- patients of the pre-training --------------------------------------------------------------------------------------


def test_images_are_compared_where_names_do_not_say_whose_they_are(tmp_path):
    name = scans(tmp_path)
    target = load_target(name)
    test = in_parts(target.split_items().items)["test"]
    known = image_hashes(test[1].image)
    of = {"patients": patient_hashes("elsewhere", ["x"]), "datasets": ["elsewhere"]}
    leaky = initialisation(tmp_path / "leaky", **of, images=list(known))
    again = {"patients": patient_hashes(target.dataset, ["x"]), "datasets": [target.dataset], "images": list(known)}
    with pytest.raises(InvalidInputError, match=rf"1 test images .* \({test[1].name}\)"):
        find_items(target, [leaky], progress=False)
    renamed = initialisation(tmp_path / "again", **again)
    with pytest.raises(InvalidInputError, match=rf"1 test images .* \({test[1].name}\)"):
        find_items(target, [renamed], progress=False)
    others = initialisation(tmp_path / "others", **of, images=["0" * 12])
    assert find_items(target, [others], progress=False).unchecked == {others.init: ""}
    unknown = initialisation(tmp_path / "unknown", **of)
    assert "cannot be told" in find_items(target, [unknown], progress=False).unchecked[unknown.init]


def test_the_split_follows_the_pre_training_even_of_fresh_weights(tmp_path, capsys):
    name = scans(tmp_path)
    target = load_target(name, ["splits.pretrained=train"])
    first = in_parts(target.split_items().items)["test"][0].patient
    folder = tmp_path / "w"
    start = initialisation(folder, patients=patient_hashes("mine", [first]), datasets=["mine"])
    for init in (start, look_up(f"random:{folder}")):
        found = find_items(target, [init], progress=False)
        assert {item.split for item in found.found.items if item.patient == first} <= {"train", "validation"}
        assert "1 patients of the pre-training are trained on, not tested" in capsys.readouterr().out
    with pytest.raises(InvalidInputError, match="1 test patients were in the pre-training set"):
        find_items(load_target(name), [start], progress=False)


def test_settings_that_are_younger_than_the_protocol_leave_older_keys_as_they_were(tmp_path):
    name = scans(tmp_path)
    task = task_of(name, tmp_path)
    said = task.target.model_dump(mode="json", exclude={"root", "title", "description", "code", "doubtful"})
    for younger in ("lr_factor", "head_first", "keep"):
        del said["settings"][younger]
    rows = [(i.name, i.patient, i.split, None, i.place, task.arrays.content(i)) for i in task.items]
    text = json.dumps([said | {"doubtful": []}, rows], sort_keys=True)
    assert task.key == hashlib.sha256(text.encode()).hexdigest()
    assert task_of(name, tmp_path, "settings.lr_factor=1", "settings.keep=best").key == task.key
    others = ("settings.lr_factor=0.3", "settings.keep=last", "settings.head_first=0.3")
    assert len({task.key, *(task_of(name, tmp_path, other).key for other in others)}) == 4


def test_the_same_pixels_in_two_parts_are_said(tmp_path, capsys):
    """Of files of two formats, in training and in validation too."""
    name = scans(tmp_path / "mine")
    parts = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    table = [(f"p{k:02d}", part) for k, part in enumerate(parts)]
    write_csv(tmp_path / "mine" / "t.csv", ("image", "split"), table)
    task_of(name, tmp_path / "out", "table=t.csv")
    assert "warning" not in capsys.readouterr().out
    images = tmp_path / "mine" / "images"
    (images / "p07.nii.gz").unlink()
    sitk.WriteImage(sitk.ReadImage(str(images / "p01.nii.gz")), str(images / "p07.mha"))
    task_of(name, tmp_path / "out", "table=t.csv")
    assert (
        "1 item has the image of one in another part, such as p07 (validation) that of p01" in capsys.readouterr().out
    )
