"""sg-hub check: all that is wrong with a target, at once."""

import re

import numpy as np
import pytest

from sg_hub import Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.cli import main
from sg_hub.errors import InvalidInputError
from tests.training.targets.target_folders import write_csv, write_scan
from training.targets.readers.folder import Folder
from training.trials.check import TargetError, check

HEAD = 'reader = "folder"\nname = "mine"\nroot = "data"\n'
SEGMENTATION = 'head = "segmentation"\nmetric = "dice"\nclasses = ["a", "b"]\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Eight scans with label maps, and a target that is right."""
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        labels = np.zeros((8, 8, 8), np.uint8)
        labels[2:4, 2:6, 2:6], labels[4:6, 2:6, 2:6] = 1, 2
        write_scan(tmp_path / "data" / "images" / f"{number}.nii.gz", labels.astype(np.int16) * 100 - 500 + number)
        write_scan(tmp_path / "data" / "labels" / f"{number}.nii.gz", labels)
    (tmp_path / "mine.toml").write_text(HEAD + SEGMENTATION, encoding="utf-8")
    return tmp_path / "data"


def wrong(*overrides, init=None):
    with pytest.raises(TargetError) as caught:
        check("mine.toml", overrides, init, progress=False)
    return [str(error) for error in caught.value.errors]


def test_nothing_is_wrong(folder):
    said = check("mine.toml", progress=False)
    assert said.startswith("mine: 8 items of 8 patients, nothing is wrong\n  train: ")


def test_every_key_that_is_wrong(folder, tmp_path):
    (tmp_path / "mine.toml").write_text(HEAD + SEGMENTATION + 'clases = []\n[settings]\nsteps = "many"\n')
    (line,) = wrong()
    assert "clases: there is no such key; did you mean classes?" in line
    assert 'settings.steps = "many": expected a whole number above 0' in line


def test_files_that_are_wrong_are_all_named(folder):
    write_scan(folder / "labels" / "1.nii.gz", np.zeros((4, 8, 8), np.uint8))
    (folder / "images" / "2.nii.gz").write_text("no scan")
    write_scan(folder / "labels" / "3.nii.gz", np.full((8, 8, 8), 7, np.uint8))
    lines = wrong()
    assert [next(name for name in "123" if f"{name}.nii.gz" in line) for line in lines] == ["1", "2", "3"]
    assert "holds the values 7, which no class of target mine has" in lines[2]
    for number in range(8):
        write_scan(folder / "labels" / f"{number}.nii.gz", np.zeros((4, 8, 8), np.uint8))
    line, other = wrong()  # one fault of all of them but the image that is no scan
    assert "2.nii.gz" in other
    assert "0.nii.gz has size (4, 8, 8)" in line or "(8, 8, 4)" in line
    assert "(the same of 7 of 8 items: " in line
    assert line.endswith(" and others)")


def test_folders_that_are_missing_are_all_named(folder):
    (line,) = wrong("images=pictures", "labels=outlines", "table=table.csv")
    for name in ("pictures", "outlines", "table.csv"):
        assert name in line


def test_a_class_that_no_label_map_has(folder):
    (line,) = wrong('classes=["a", "b", "c"]')
    assert "no label map has the class 'c'" in line
    for number in range(8):
        write_scan(folder / "labels" / f"{number}.nii.gz", np.full((8, 8, 8), 1, np.uint8))
    labels = np.ones((8, 8, 8), np.uint8)
    labels[4:] = 2
    write_scan(folder / "labels" / "0.nii.gz", labels)
    lines = wrong()  # of the three parts one has it
    assert len(lines) == 2
    assert all("part (" in line and "has the class 'b'" in line for line in lines)


def test_the_files_are_looked_at_where_the_split_is_wrong_too(folder):
    rows = [(f"{number}.nii.gz", "one", part) for number, part in enumerate(["train", "validation", "test", "train"])]
    write_csv(folder / "table.csv", ("image", "patient", "split"), rows)
    (folder / "images" / "2.nii.gz").write_text("no scan")
    torn, unreadable = wrong("table=table.csv")
    assert "patient one is in test and in train and in validation" in torn
    assert "2.nii.gz" in unreadable


def test_labels_of_a_classification_that_are_no_class(folder, tmp_path):
    (tmp_path / "mine.toml").write_text(
        HEAD + 'table = "t.csv"\nhead = "classification"\nmetric = "auc"\nclasses = ["a", "b"]\n', encoding="utf-8"
    )
    write_csv(folder / "t.csv", ("image", "label"), [("0.nii.gz", "a"), ("1.nii.gz", "c"), ("2.nii.gz", "a|b")])
    (line,) = wrong()
    assert "label 'c' (of 1.nii.gz), 'a|b' (of 2.nii.gz); expected one of ['a', 'b']" in line
    with pytest.raises(InvalidInputError, match="expected one of"):
        Folder(
            reader="folder", name="x", root=str(folder), table="t.csv", head="classification", metric="auc",
            classes=("a", "b"), grid={"size": (8, 8, 8)},
        ).find()  # fmt: skip


def test_weights_that_do_not_fit(folder, tmp_path, capsys):
    SemanticGenesis2D(encoder="lcnet_035", decoder_width=2).save_pretrained(tmp_path / "pictures")
    SemanticGenesis3D(width=2, preprocessing=Preprocessing(input_size=(8, 8, 8))).save_pretrained(tmp_path / "scans")
    assert (
        "is a 2D network, and the target takes a 3D one: give weights such as semantic-genesis-3d-tiny"
        in wrong(init="./pictures")[0]
    )
    assert "no-such" in wrong(init="no-such")[0]
    assert "multiples of 8" in wrong("settings.patch=[4, 8, 8]", init="./scans")[0]
    assert "nothing is wrong" in check("mine.toml", [], "./scans", progress=False)
    assert "settings.patch = [8, 8, 8]" in capsys.readouterr().out


def test_the_command_gives_a_line_each_and_exit_code_2(folder, capsys):
    assert main(["check", "mine.toml", "--quiet"]) == 0
    assert main(["check", "mine.toml", 'classes=["a", "b", "c"]', "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sg-hub: error: no label map has the class 'c'")
    (folder / "images" / "2.nii.gz").write_text("no scan")
    assert main(["check", "mine.toml", 'classes=["a", "b", "c"]', "--quiet"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[-1] == "sg-hub: error: mine.toml: 2 things to put right"


def test_the_same_pixels_in_two_parts(folder):
    """Whatever the files are: one is compressed, the other not."""
    scan = np.random.default_rng(0).integers(-900, 300, (8, 8, 8)).astype(np.int16)
    parts = ("train", "train", "train", "train", "validation", "validation", "test", "test")
    write_csv(folder / "table.csv", ("image", "split"), [(f"{number}", part) for number, part in enumerate(parts)])
    for number in range(8):
        (folder / "images" / f"{number}.nii.gz").unlink()
        same = scan if number in (0, 5) else scan + number
        write_scan(folder / "images" / f"{number}.{'mha' if number == 5 else 'nii.gz'}", same.astype(np.int16))
    said = check("mine.toml", ["table=table.csv"], progress=False)
    assert "nothing is wrong" not in said
    assert "1 item has the image of one in another part, such as 5 (validation) that of 0 (train)" in said


def test_a_grid_that_is_coarse_for_the_labels_is_said(folder):
    assert "coarse" not in check("mine.toml", ["grid.spacing=[1, 1, 1]"], progress=False)
    said = check("mine.toml", ["grid.spacing=[1.6, 1.6, 1.6]"], progress=False)
    (line,) = [line for line in said.splitlines() if "is coarse" in line]
    assert "grid of 1.6 x 1.6 x 1.6 mm" in line
    assert "(of 8 items)" in line
    reached = [float(value) for value in re.findall(r"[ab] (\d\.\d\d)", line)]
    assert len(reached) == 2
    assert all(0.3 < value < 0.95 for value in reached)
