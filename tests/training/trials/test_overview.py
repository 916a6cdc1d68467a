"""What there is: the targets that ship, and what of one is on this disk."""

from sg_hub.cli import main


def test_targets_are_listed_and_shown(place, tmp_path, capsys):
    assert main(["targets"]) == 0
    assert "lidc-malignancy" in capsys.readouterr().out
    split = tmp_path / "split.csv"
    lidc = f"root={place / 'data' / 'lidc'}"
    assert main(["targets", "lidc-candidates", lidc, "--split", str(split)]) == 0
    assert "train: " in capsys.readouterr().out
    assert split.read_text(encoding="utf-8").count("\n") == 13
