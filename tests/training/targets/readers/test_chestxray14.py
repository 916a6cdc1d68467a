"""DXC: ChestX-ray14."""

import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets import target_folders as folders
from tests.training.targets.target_folders import target_at


def test_chestxray14_findings_patients_and_official_split(tmp_path):
    names = folders.chestxray14(tmp_path)
    (tmp_path / "images_001" / "images" / names[2]).unlink()
    target = target_at("dxc", tmp_path, "grid.size=[32, 32]")
    found = target.split_items()
    assert "not there" in found.skipped[names[2]]
    test = {item.name for item in found.items if item.split == "test"}
    assert test == {name.removesuffix(".png") for name in names[len(names) * 2 // 3 :]}
    assert any(item.split == "validation" for item in found.items)
    item = next(item for item in found.items if item.name == "00000006_000")
    assert item.patient == "6"
    named = {name for name, value in zip(target.classes, item.label, strict=True) if value}
    assert named == {"Effusion", "Mass"}
    assert target.load(item).image.shape == (1, 32, 32)
    nothing = next(item for item in found.items if item.name == "00000004_000")
    assert not any(nothing.label)


def test_chestxray14_broken_lists_and_tables(tmp_path):
    names = folders.chestxray14(tmp_path)
    with open(tmp_path / "test_list.txt", "a", encoding="utf-8") as file:
        file.write(names[0] + "\n")
    with pytest.raises(InvalidInputError, match=r"train_val_list\.txt and in test_list\.txt"):
        target_at("dxc", tmp_path).split_items()
    (tmp_path / "test_list.txt").unlink()
    with pytest.raises(ReadError, match=r"test_list.txt is not there"):
        target_at("dxc", tmp_path).split_items()
    (tmp_path / "test_list.txt").write_text(names[-1], encoding="utf-8")
    text = (tmp_path / "Data_Entry_2017.csv").read_text(encoding="utf-8")
    (tmp_path / "Data_Entry_2017.csv").write_text(text.replace("Hernia", "Unicorn"), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="Unicorn"):
        target_at("dxc", tmp_path).split_items()
    (tmp_path / "Data_Entry_2017.csv").write_text(text.replace("Patient ID", "Person"), encoding="utf-8")
    with pytest.raises(ReadError, match="'Patient ID'"):
        target_at("dxc", tmp_path).split_items()


def test_chestxray14_patients_in_both_lists_are_refused(tmp_path):
    names = folders.chestxray14(tmp_path)
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:15]), encoding="utf-8")
    (tmp_path / "test_list.txt").write_text("\n".join(names[15:]), encoding="utf-8")  # cuts through a patient
    with pytest.raises(InvalidInputError, match="patients, not images, are split"):
        target_at("dxc", tmp_path).split_items()


def test_chestxray14_a_truncated_image_is_named(tmp_path):
    names = folders.chestxray14(tmp_path)
    path = tmp_path / "images_002" / "images" / names[0]
    path.write_bytes(path.read_bytes()[:200])
    target = target_at("dxc", tmp_path)
    with pytest.raises(ReadError, match=names[0]):
        target.load(next(item for item in target.split_items().items if item.image == str(path)))
