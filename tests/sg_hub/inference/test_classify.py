import dataclasses

import numpy as np
import pytest
import torch

from sg_hub import InvalidInputError, classify
from tests.sg_hub.inference.networks import make_2d, make_image, make_model, make_scan

NAMES = ("other", "benign", "malignant")


def test_the_classes_of_an_image_by_name_in_their_order():
    model, image = make_2d(head="classification", class_names=NAMES).train(), make_image()
    found = classify(model, image)
    assert tuple(found) == NAMES
    assert sum(found.values()) == pytest.approx(1)
    with torch.no_grad():
        expected = model.eval()(model.preprocess(image)).softmax(1)[0]
    assert np.allclose(list(found.values()), expected.numpy(), atol=1e-6)


def test_findings_do_not_exclude_one_another():
    model, image = make_2d(head="classification", class_names=NAMES, multilabel=True).eval(), make_image()
    with torch.no_grad():
        expected = model(model.preprocess(image)).sigmoid()[0]
    assert np.allclose(list(classify(model, image).values()), expected.numpy(), atol=1e-6)


def test_a_scan_goes_through_as_a_whole_where_the_weights_say_so():
    model, scan = make_model(head="classification").eval(), make_scan((40, 30, 23))
    model.preprocessing = dataclasses.replace(model.preprocessing, size=(16, 16, 16))
    with torch.no_grad():
        expected = model(model.preprocess(scan)).softmax(1)[0]
    found = classify(model, scan, progress=False)
    assert list(found) == ["class 0", "class 1", "class 2"]
    assert np.allclose(list(found.values()), expected.numpy(), atol=1e-6)


def test_another_scan_goes_through_in_windows_whose_probabilities_are_averaged(capsys):
    model, scan = make_model(head="classification").eval(), make_scan((32, 16, 16))
    x = model.preprocess(scan)
    with torch.no_grad():
        expected = torch.cat([model(x[:, :, i : i + 16]).softmax(1) for i in (0, 16)]).mean(0)
    assert np.allclose(list(classify(model, scan).values()), expected.numpy(), atol=1e-6)
    assert "window" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["pretext", "segmentation", "features"])
def test_other_heads_are_refused(head):
    with pytest.raises(InvalidInputError, match=f"a {head} head gives no classes of a whole scan"):
        classify(make_model(head=head), make_scan())
