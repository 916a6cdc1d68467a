import copy
import datetime
import pickle

import numpy as np
import pytest
import torch

from sg_hub import InvalidInputError, PretextOutput, SemanticGenesis2D, SemanticGenesis3D, from_pretrained
from sg_hub.models.heads import HEADS, head_of, probabilities


def build(ndim, head, **options):
    torch.manual_seed(0)
    if ndim == 2:
        return SemanticGenesis2D(encoder="test_resnet", decoder_width=2, head=head, num_classes=5, **options).eval()
    return SemanticGenesis3D(width=2, head=head, num_classes=5, norm="batch", **options).eval()


def inputs(ndim):
    size = (64, 96) if ndim == 2 else (16, 8, 24)
    return torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", HEADS)
def test_what_a_head_says_of_itself_is_what_comes_out(ndim, name):
    model, x = build(ndim, name), inputs(ndim)
    head = model.head
    assert head is head_of(name)
    parts = {part for part in ("decoder", "classifier", "segmentation", "restoration") if hasattr(model, part)}
    assert parts == set(head.parts)
    keys = list(model.state_dict())
    assert all(any(key.startswith(f"{layer}.") for key in keys) for layer in head.task_layers)
    assert model.num_classes == (5 if head.has_classes else 0)
    with torch.inference_mode():
        output = model(x)
    found = [output] if isinstance(output, torch.Tensor) else list(output)
    assert len(found) == len(head.outputs(model)) == len(set(head.outputs(model)))
    if head.has_map:
        found_map = head.map_of(output)
        assert found_map.shape == (2, 1 if head.restores else 5, *x.shape[2:])
        assert 0 <= found_map.min() <= found_map.max() <= 1
    if head.classifies:
        assert output.shape == (2, 5)
    if head.has_labels:
        torch.testing.assert_close(head.map_of(output).sum(1), torch.ones(2, *x.shape[2:]))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("pad", [True, False])
def test_what_cannot_be_padded_is_refused(ndim, pad):
    model, x = build(ndim, "segmentation"), inputs(ndim)
    for wrong in (x > 0.5, (10 * x).int()):
        with pytest.raises(InvalidInputError, match="expected floating point"):
            model(wrong[..., :-1], pad=pad)
    with pytest.raises(InvalidInputError, match="every side must be a multiple"):
        model(x[..., :0], pad=pad)


@pytest.mark.parametrize("ndim", [2, 3])
def test_features_are_the_encoders_maps_finest_first(ndim):
    model, x = build(ndim, "features"), inputs(ndim)
    with torch.inference_mode():
        maps = model(x)
        for ours, theirs in zip(maps, model.encoder(x), strict=True):
            assert torch.equal(ours, theirs)
    shapes = [tuple(m.shape) for m in maps]
    sides = [tuple(side // stride for side in x.shape[2:]) for stride in model.encoder.strides]
    assert shapes == [(2, c, *size) for c, size in zip(model.encoder.channels, sides, strict=True)]
    assert not any(key.startswith(("decoder.", "classifier.")) for key in model.state_dict())


def test_models_can_be_copied_and_pickled():
    model, x = build(3, "pretext", class_names=list("abcde")), inputs(3)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.config() == model.config()
        with torch.inference_mode():
            output = other(x)
            assert isinstance(output, PretextOutput)
            assert torch.equal(output.restoration, model(x).restoration)


def test_probabilities_add_up_to_one_but_those_of_findings_and_of_one_class():
    logits = torch.tensor([[1.0, 2.0, -1.0]])
    torch.testing.assert_close(probabilities(logits).sum(1), torch.ones(1))
    torch.testing.assert_close(probabilities(logits, multilabel=True), logits.sigmoid())
    torch.testing.assert_close(probabilities(logits[:, :1]), logits[:, :1].sigmoid())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_names": ["a"]}, "1 names for num_classes=5"),
        ({"class_names": "abcde"}, "one name for each class"),
        ({"class_names": ["a", "a", "b", "c", "d"]}, "each another one"),
        ({"class_names": ["a", " ", "b", "c", "d"]}, "words"),
        ({"class_names": 5}, "one name for each class"),
        ({"multilabel": True}, "classification"),
        ({"multilabel": 1}, "multilabel=1"),
    ],
)
def test_classes_that_cannot_be_are_refused(options, words):
    with pytest.raises(InvalidInputError, match=words):
        build(3, "segmentation", **options)
    with pytest.raises(InvalidInputError, match="has no classes"):
        build(3, "features", class_names=["a"])


@pytest.mark.parametrize("names", [["a", "b"], np.array(["a", "b"]), iter(["a", "b"]), {"a": 1, "b": 2}.keys()])
def test_names_may_be_of_any_kind_of_sequence(names):
    found = from_pretrained("semantic-genesis-3d-tiny", class_names=names)
    assert (found.num_classes, found.class_names) == (2, ("a", "b"))
    assert all(type(name) is str for name in found.class_names)


@pytest.mark.parametrize("names", [5, "ab", b"ab", {"a", "b"}, np.array("a")])
def test_names_that_are_no_list_are_refused_before_they_are_counted(names):
    with pytest.raises(InvalidInputError, match="one name for each class"):
        from_pretrained("semantic-genesis-3d-tiny", class_names=names)


def test_names_that_were_changed_to_what_cannot_be_are_not_saved(tmp_path):
    model = build(3, "segmentation")
    model.class_names = ("a", "b")
    with pytest.raises(InvalidInputError, match="2 names for num_classes=5"):
        model.save_pretrained(tmp_path)


@pytest.mark.parametrize("provenance", [{"date": datetime.date(2020, 1, 1)}, {"n": np.float32(1)}, None])
def test_a_provenance_that_json_cannot_hold_is_said(tmp_path, provenance):
    model = build(3, "segmentation")
    model.provenance = provenance
    with pytest.raises(InvalidInputError, match=r"provenance: .*expected texts, numbers"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("provenance", ["abc", [1], 5])
def test_a_provenance_that_is_no_mapping_is_refused(provenance):
    with pytest.raises(InvalidInputError, match="expected facts by name"):
        build(3, "segmentation", provenance=provenance)


def test_a_citation_may_be_a_list(tmp_path):
    model = build(3, "segmentation", provenance={"licence": "mit", "citation": ["Doe 2020", "Doe 2021"]})
    model.save_pretrained(tmp_path)
    assert "Doe 2021" in (tmp_path / "NOTICE").read_text(encoding="utf-8")
