import dataclasses

import numpy as np
import pytest
import torch

from sg_hub import InvalidInputError, Scan, SemanticGenesis3D, propagate
from sg_hub.inference.deformation import Compared
from sg_hub.inference.feature_maps import FeatureMaps
from sg_hub.inference.matching import Mapped
from tests.sg_hub.inference.networks import Textures, make_scan
from tests.sg_hub.inference.test_locate import part


@pytest.fixture(scope="module")
def labelled():
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 1, 32, 28, 24, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (64, 56, 48), mode="trilinear")[0]
    scan = Scan((fine * 2000 - 1000).numpy(), spacing=(2.0, 2.0, 3.0))
    labels = np.zeros(scan.size, dtype=np.uint8)
    labels[20:36, 20:36, 12:24], labels[36:44, 24:36, 24:34] = 1, 7
    return scan, labels


def test_labels_of_a_shifted_scan_lie_where_they_belong(labelled):
    scan, labels = labelled
    other = part(scan, (6, 4, 4), (54, 48, 42))
    found = propagate(Textures(), scan, labels, other, progress=False)
    truth = labels[6:60, 4:52, 4:46]
    assert (found.shape, found.dtype) == (truth.shape, labels.dtype)
    for number in (1, 7):
        both, either = ((found == number) & (truth == number)).sum(), ((found == number) | (truth == number)).sum()
        assert both > 0.6 * either
    assert set(np.unique(found)) == {0, 1, 7}


def test_several_scans_vote_and_those_count_more_that_are_alike(labelled):
    scan, labels = labelled
    other = part(scan, (6, 4, 4), (54, 48, 42))
    truth = labels[6:60, 4:52, 4:46]
    noise = np.random.default_rng(0).normal(0, 400, scan.array.shape).astype(np.float32)
    worse = dataclasses.replace(scan, array=scan.array + noise)
    wrong = np.where(labels == 1, 7, labels)  # whoever drew these called all of it 7

    def share(found):
        return (found == truth)[truth > 0].mean()

    alone = propagate(Textures(), worse, wrong, other, progress=False)
    both = propagate(Textures(), [worse, scan], [wrong, labels], other, progress=False)
    assert share(alone) < 0.5 < share(both)
    one = propagate(Textures(), scan, labels, other, progress=False)
    same = propagate(Textures(), [scan], [labels], other, progress=False)
    assert np.array_equal(one, same)
    three = propagate(Textures(), [scan, scan, worse], [labels, labels, wrong], other, progress=False)
    assert np.array_equal(three, one)


def test_a_scan_that_ends_before_the_labels_do_has_no_vote_beyond_its_end(labelled):
    scan, labels = labelled
    cut = slice(None), slice(None), slice(0, 26)  # most of label 7 lies above
    short = Scan(scan.array[:, *cut], spacing=scan.spacing)
    alone = propagate(Textures(), scan, labels, scan, progress=False)
    more = propagate(Textures(), [short, short, scan], [labels[cut], labels[cut], labels], scan, progress=False)
    above = alone[:, :, 28:] == 7
    assert above.sum() > 100
    assert (more[:, :, 28:] == 7)[above].mean() > 0.8


def test_scans_and_labels_go_together(labelled):
    scan, labels = labelled
    for scans, maps, said in (
        ([scan, scan], [labels], "2 and 1"),
        ([], [], "0 and 0"),
        ([scan, scan], labels, "2 and 1"),
    ):
        count, others = said.split(" and ")
        with pytest.raises(InvalidInputError, match=f"{count} scans with {others} label maps"):
            propagate(Textures(), scans, maps, scan, progress=False)


def test_nothing_is_trained_and_a_caller_without_gradients_gets_the_same(labelled):
    scan, labels = labelled
    torch.manual_seed(0)
    model = SemanticGenesis3D(width=4, head="features")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = propagate(model, scan, labels, scan, progress=False)
    assert ((found > 0) & (labels > 0)).sum() > 0.5 * (labels > 0).sum()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert np.array_equal(propagate(model, scan, labels, scan, progress=False), found)
    assert state
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_on_a_class_vote_the_scans_in_which_it_is_drawn(labelled):
    scan, labels = labelled
    maps = [np.where(labels == number, labels, 0) for number in (1, 7)]
    found = propagate(Textures(), [scan, scan], maps, scan, progress=False)
    for number in (1, 7):
        assert ((found == number) & (labels == number)).sum() > 0.6 * (labels == number).sum()


def test_the_result_holds_whole_numbers_whatever_the_types_of_the_labels(labelled):
    scan, labels = labelled
    mixed = [labels.astype(np.uint64), labels.astype(np.int64)]
    assert propagate(Textures(), [scan, scan], mixed, scan, progress=False).dtype == np.int64


def test_which_of_several_is_refused_is_said(labelled):
    scan, labels = labelled
    with pytest.raises(InvalidInputError, match="labelled scan 2 of 2: labels of size"):
        propagate(Textures(), [scan, scan], [labels, labels[1:]], scan, progress=False)


def test_what_is_compared_is_found_on_places_all_over_the_box():
    size, channels = (64, 64, 64), 32
    where = torch.zeros(channels, *size)
    where[-1, :, :, 32:], where[0, :, :, :32] = 1.0, 1.0  # differs along z alone
    where[1:-1, :, :, 0] = torch.rand(channels - 2, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = FeatureMaps(("encoder 0",), (where.half(),), ((1, 1, 1),), size).normalised()
    compared = Compared(Mapped(maps, (1.0, 1.0, 1.0)), [slice(0, 64)] * 3)
    assert compared.vectors.std(dim=3).max() > 0.05


def test_a_scan_of_labels_on_another_grid_of_voxels(labelled):
    scan, labels = labelled
    coarse = torch.nn.functional.interpolate(torch.from_numpy(scan.array)[None], (32, 28, 24), mode="trilinear")[0]
    other = Scan(coarse.numpy(), spacing=(4.0, 4.0, 6.0))
    model = Textures()
    model.preprocessing = dataclasses.replace(model.preprocessing, spacing=(4.0, 4.0, 6.0))
    whole = dataclasses.replace(scan, array=labels[None].astype(np.float32))
    found = propagate(model, scan, whole, other, progress=False)
    assert (found.shape, found.dtype) == ((32, 28, 24), np.uint8)
    truth = labels[::2, ::2, ::2]
    assert ((found > 0) & (truth > 0)).sum() > 0.6 * ((found > 0) | (truth > 0)).sum()


def test_labels_in_a_tensor_are_those_in_an_array(labelled):
    scan, labels = labelled
    other = part(scan, (6, 4, 4), (54, 48, 42))
    tensor = torch.from_numpy(labels).float().requires_grad_()
    found = propagate(Textures(), scan, tensor, other, progress=False)
    assert np.array_equal(found, propagate(Textures(), scan, labels, other, progress=False))


def test_a_mask_is_one_class(labelled):
    scan, labels = labelled
    other = part(scan, (6, 4, 4), (54, 48, 42))
    found = propagate(Textures(), scan, labels > 0, other, progress=False)
    assert found.dtype == np.uint8
    assert np.array_equal(found, propagate(Textures(), scan, (labels > 0).astype(np.uint8), other, progress=False))


def test_another_default_type_of_torch_changes_nothing(labelled):
    scan, labels = labelled
    other = part(scan, (6, 4, 4), (54, 48, 42))
    model = Textures()
    wanted = propagate(model, scan, labels, other, progress=False)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert np.array_equal(propagate(model, scan, labels, other, progress=False), wanted)
    finally:
        torch.set_default_dtype(before)


def test_what_cannot_be_carried_is_refused(labelled):
    scan, labels = labelled
    with pytest.raises(InvalidInputError, match=r"labels of size \(64, 56, 47\) for array of \(64, 56, 48\)"):
        propagate(Textures(), scan, labels[..., :-1], scan)
    with pytest.raises(InvalidInputError, match="labels with fractions"):
        propagate(Textures(), scan, labels * 0.5, scan)
    for impossible in (np.inf, -np.inf, np.nan, 1e20):
        with pytest.raises(InvalidInputError, match="NaN or numbers from 2,147,483,648 on: expected whole numbers"):
            propagate(Textures(), scan, np.where(labels > 0, impossible, 0.0), scan)
    with pytest.raises(InvalidInputError, match="at least one class above it"):
        propagate(Textures(), scan, labels * 0, scan)
    with pytest.raises(InvalidInputError, match="are found in the other scan: expected two scans"):
        propagate(Textures(), scan, labels, make_scan((30, 30, 30), (2.0, 2.0, 3.0), seed=5), progress=False)


def test_a_label_map_that_lies_elsewhere_is_refused(labelled):
    scan, labels = labelled
    elsewhere = Scan(labels[None].astype(np.float32), scan.spacing, origin=(500.0, 0.0, 0.0))
    with pytest.raises(InvalidInputError, match=r"lies elsewhere than.*500\.0 mm apart"):
        propagate(Textures(), scan, elsewhere, scan)


def test_large_numbers_stay_as_they_are_and_negative_ones_are_refused(labelled):
    scan, labels = labelled
    large = np.where(labels > 0, 40000, 0).astype(np.float32)
    found = propagate(Textures(), scan, large, scan, progress=False)
    assert set(np.unique(found)) <= {0, 40000}
    assert (found == 40000).any()
    with pytest.raises(InvalidInputError, match=r"-1 to "):
        propagate(Textures(), scan, labels.astype(np.int16) - 1, scan)
