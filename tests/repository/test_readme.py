"""README's examples: those behind a marker are run as they stand, in their order, in a user's folder."""

from pathlib import Path

import pytest

from tests.repository.documents import RUN, a_users_folder, blocks, run
from tests.support.folders import ROOT

BLOCKS = blocks(ROOT / "README.md")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("user")
    a_users_folder(made)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "last", "written"),
    [
        ("sg_hub.load_scan", "sg_hub.load_image", ["restored.nii.gz", "restored.png"]),
        ("sg-hub locate", "sg-hub propagate", ["places.png", "b-labels.nii.gz"]),
        ("init-target organs", 'from_pretrained("./organ-model")', ["labels.nii.gz", "organ-model/metrics.csv"]),
        ("init-target nodules", "sg_hub.classify(model", ["classes.csv", "nodule-model/README.md"]),
        ("def loss_of", "import lightning", ["my-model/model.safetensors"]),
    ],
    ids=["five lines", "places", "segmentation", "classification", "own loop"],
)
def test_what_is_shown_runs_as_it_stands(first, last, written, folder, monkeypatch):
    monkeypatch.chdir(folder)
    marked = [block for block in BLOCKS if block.mark == RUN]
    start = next(place for place, block in enumerate(marked) if first in block.text)
    end = next(place for place, block in enumerate(marked) if last in block.text)
    names = {"__name__": "readme"}
    for block in marked[start : end + 1]:
        run(block, names)
    for name in written:
        assert Path(name).is_file(), name
    if "features" in names:
        assert names["features"].shape == (256,)
        assert names["restored"].shape == (1, *names["image"].size)


def test_every_marked_example_is_in_one_of_the_tests():
    marked = [block for block in BLOCKS if block.mark == RUN]
    assert [block.kind for block in marked] == [
        *("python", "python", "bash"),
        *("bash", "python"),
        *("bash", "python"),
        *("python", "python"),
    ]
    assert sum("sg-hub finetune" in block.text for block in marked) == 2
