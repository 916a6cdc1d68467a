"""How much there is of each class: in ml of a scan, in percent of an image."""

from types import SimpleNamespace

import numpy as np
import pytest

from sg_hub.inference.amounts import amounts_of
from sg_hub.io.image import Image
from tests.sg_hub.inference.networks import make_scan


def test_of_a_scan_it_is_millilitres():
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[:2, :5, :5], labels[7, 7, 7] = 1, 2
    model = SimpleNamespace(class_names=("background", "liver"), num_classes=3)
    liver, other = amounts_of(model, make_scan((8, 8, 8), (2.0, 2.0, 5.0), seed=0), labels)
    assert (liver.value, liver.name, liver.count, liver.share) == (1, "liver", "50 voxels", "1.0 ml")
    assert liver.numbers == {"voxels": 50, "ml": pytest.approx(1.0)}
    assert (other.name, other.count) == ("class 2", "1 voxels")


def test_of_an_image_it_is_a_share():
    labels = np.eye(10, dtype=np.uint8)
    model = SimpleNamespace(class_names=("lung",), num_classes=1)
    (lung,) = amounts_of(model, Image(np.random.default_rng(0).random((1, 10, 10), dtype=np.float32)), labels)
    assert (lung.name, lung.share, lung.numbers) == ("lung", "10.0 % of the image", {"pixels": 10, "percent": 10.0})
