"""The pictures of a run."""

import errno

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image as PillowImage

from sg_hub.errors import ReadError
from training.run.pages.figures import save


def test_pictures_are_drawn(trained_images):
    for picture in (
        "autoencoder/reconstructions.png",
        "discovery/patterns.png",
        "pretraining/restorations.png",
        "pretraining/curves.png",
        "restorations.png",
        "transforms.png",
    ):
        with PillowImage.open(trained_images / picture) as opened:
            assert len(np.unique(np.asarray(opened.convert("L")))) > 50, picture


def test_a_full_disk_leaves_the_older_picture(tmp_path, monkeypatch):
    save(plt.figure(), tmp_path / "new" / "a.png")
    before = (tmp_path / "new" / "a.png").read_bytes()

    def full(*arguments, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(ReadError, match=r"a\.png cannot be written \(No space left on device\)"):
        save(plt.figure(), tmp_path / "new" / "a.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    assert (tmp_path / "new" / "a.png").read_bytes() == before
