"""sg-hub preprocess."""

import os

import numpy as np
from PIL import Image

from sg_hub import load_scan
from tests.sg_hub.cli.saying import CT, PREPROCESSING, XRAYS


def test_preprocess_writes_what_the_network_sees(run, models):
    code, out, error = run("preprocess", CT, "--model", models / "pretext", "--out", "x.npy", "--picture", "p.png")
    assert (code, error) == (0, "")
    np.testing.assert_array_equal(np.load("x.npy"), PREPROCESSING.apply(load_scan(CT)).numpy())
    assert str(np.load("x.npy").shape) in out
    assert sorted(os.listdir()) == ["p.png", "x.npy"]


def test_preprocess_of_an_image(run, models):
    arguments = ("--model", models / "pretext-2d", "--out", "x.npy", "--picture", "seen.png")
    assert run("preprocess", XRAYS[0], *arguments)[0] == 0
    assert np.load("x.npy").shape == (1, 1, 64, 64)
    with Image.open("seen.png") as opened:
        assert len(np.unique(np.asarray(opened))) > 50
