"""Sliding windows: blending, grids, memory, and what is refused."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.inference.predict import embed, predict, sliding_window
from sg_hub.io.scan import Scan
from sg_hub.models import SemanticGenesis3D
from sg_hub.preprocessing.scan_preprocessing import Preprocessing, restore_grid

PATCH = (8, 8, 8)


class Output(NamedTuple):
    restoration: Tensor
    pattern_logits: Tensor


class Identity(nn.Module):
    """Gives back what it gets, as a pretext head would."""

    head_name = "pretext"

    def __init__(self, **settings) -> None:
        super().__init__()
        self.preprocessing = Preprocessing(input_size=PATCH, **settings)
        self.seen = 0

    def forward(self, x: Tensor) -> Output:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.seen += len(x)
        return Output(x, x.new_zeros(len(x), 1))


class Bands(nn.Module):
    """Logits that are a function of each voxel alone: class k where the value is about k / (classes - 1)."""

    head_name = "segmentation"

    def __init__(self, classes: int, **settings) -> None:
        super().__init__()
        self.classes = classes
        self.preprocessing = Preprocessing(input_size=PATCH, **settings)

    def forward(self, x: Tensor) -> Tensor:
        if self.classes == 1:
            return 20 * (x - 0.5)
        centres = torch.linspace(0, 1, self.classes).view(1, -1, 1, 1, 1)
        return -((x - centres) ** 2) * 4 * self.classes**2


def make_scan(size=(19, 14, 23), spacing=(1.0, 1.0, 1.0), seed=0, smooth=False) -> Scan:
    generator = torch.Generator().manual_seed(seed)
    if smooth:
        values = torch.rand(1, 1, 4, 4, 4, generator=generator)
        values = F.interpolate(values, size, mode="trilinear", align_corners=True)[0]
    else:
        values = torch.rand(1, *size, generator=generator)
    return Scan((values * 2000 - 1000).numpy(), spacing=spacing)


def probabilities(model: Bands, scan: Scan) -> Tensor:
    """What `predict` must give: the network at once over the whole scan, interpolated by torch."""
    logits = model(model.preprocessing.apply(scan))
    found = logits.softmax(1) if model.classes > 1 else logits.sigmoid()
    return restore_grid(found, scan)[0]


# Blending


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize(
    ("size", "patch"),
    [((19, 14, 23), (8, 8, 8)), ((8, 16, 9), (8, 8, 8)), ((3, 30, 5), (8, 16, 7)), ((1, 2, 3), (8, 8, 8))],
)
def test_an_identity_network_gives_the_input(size, patch, overlap):
    x = torch.rand(1, 2, *size)
    found = sliding_window(nn.Identity(), x, patch_size=patch, overlap=overlap, batch_size=3)
    assert found.dtype == torch.float32
    assert torch.allclose(found, x, atol=1e-5)


def test_windows_count_most_in_their_middle():
    class Corner(nn.Module):
        """0 but for the border of its window."""

        def forward(self, x: Tensor) -> Tensor:
            border = torch.ones_like(x)
            border[..., 1:-1, 1:-1, 1:-1] = 0
            return border

    found = sliding_window(Corner(), torch.zeros(1, 1, 24, 24, 24), patch_size=(8, 8, 8), overlap=0.5)
    assert float(found[..., 8:16, 8:16, 8:16].max()) < 0.05
    assert float(found[..., 0, :, :].min()) == pytest.approx(1)


def test_a_small_scan_is_padded_by_its_border():
    class Lowest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.amin().expand_as(x)

    found = sliding_window(Lowest(), torch.full((1, 1, 3, 20, 5), 0.7), patch_size=PATCH)
    assert torch.allclose(found, torch.full((1, 1, 3, 20, 5), 0.7))


def test_the_order_of_batches_does_not_matter():
    scan, model = make_scan(), Bands(4)
    one = predict(model, scan, batch_size=1, progress=False)
    assert np.allclose(one, predict(model, scan, batch_size=64, progress=False), atol=1e-6)


def test_an_identity_network_gives_the_scan():
    scan = make_scan()
    model = Identity().train()
    found = predict(model, scan, progress=False)
    assert found.shape == (1, *scan.size)
    assert found.dtype == np.float32
    assert np.allclose(found * 2000 - 1000, scan.array, atol=0.02)
    # (19, 14, 23) in windows of 8 at steps of 4: 4 * 3 * 5, no more.
    assert model.seen == 60


# The scan's grid


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (1.7, 2.3, 1.2), (0.6, 0.8, 0.7), (2.5, 0.5, 30.0)])
def test_results_are_on_the_scans_grid(classes, spacing):
    scan = make_scan(smooth=True)
    model = Bands(classes, spacing=spacing)
    expected = probabilities(model, scan)
    found = predict(model, scan, progress=False)
    assert found.shape == (classes, *scan.size)
    assert np.allclose(found, expected.numpy(), atol=1e-5)

    labels = predict(model, scan, output="labels", progress=False)
    assert labels.shape == scan.size
    assert labels.dtype == np.uint8
    if classes == 1:
        sure = (expected[0] - 0.5).abs() > 1e-4
        wanted = (expected[0] > 0.5).numpy()
    else:
        best, second = expected.topk(2, dim=0).values
        sure = best - second > 1e-4
        wanted = expected.argmax(0).numpy()
    assert sure.float().mean() > 0.95
    assert np.array_equal(labels[sure.numpy()], wanted[sure.numpy()])
    assert len(np.unique(labels)) > 1


def test_many_classes_need_two_bytes():
    model = Bands(300)
    assert predict(model, make_scan((8, 8, 8)), output="labels", progress=False).dtype == np.int16


def test_a_result_can_be_saved(tmp_path):
    scan = make_scan()
    labels = predict(Bands(3), scan, output="labels", progress=False)
    assert scan.save(labels, tmp_path / "labels.nii.gz").is_file()


# Memory


def peak_growth(work) -> float:
    """By how many MB the resident memory of this process grows at most while `work` runs."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # sets the peak back to what is resident now
    except OSError:
        pytest.skip("the peak of the memory cannot be measured here")

    def peak() -> float:
        line = next(
            part for part in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if "VmHWM" in part
        )
        return int(line.split()[1]) / 1024

    before = peak()
    result = work()
    assert result is not None
    return peak() - before


@pytest.mark.parametrize("spacing", [None, (1.5, 1.0, 1.0)])
def test_labels_take_little_memory_whatever_the_number_of_classes(spacing):
    """16 MB of voxels: the probabilities of 16 classes would take 256 MB, a slab of 16 planes takes 4 MB."""
    scan = make_scan((1024, 64, 64))
    model = Bands(16, spacing=spacing)
    settings = {"patch_size": (16, 64, 64), "batch_size": 1, "progress": False}
    predict(model, make_scan((64, 64, 64)), output="labels", **settings)  # what torch sets up once
    assert peak_growth(lambda: predict(model, scan, output="labels", **settings)) < 100
    # The measure does see the probabilities where they are asked for.
    assert peak_growth(lambda: predict(model, scan, output="probabilities", **settings)) > 200


# Embedding


def make_model(**settings) -> SemanticGenesis3D:
    torch.manual_seed(0)
    settings = {"width": 2, "num_classes": 3, "norm": "batch"} | settings
    return SemanticGenesis3D(**settings, preprocessing=Preprocessing(input_size=(16, 16, 16)))


@pytest.mark.parametrize("head", ["pretext", "segmentation", "classification"])
def test_the_embedding_is_the_mean_of_the_deepest_features(head):
    model = make_model(head=head).eval()
    scan = make_scan((32, 16, 32))
    found = embed(model, scan, progress=False)
    x = model.preprocess(scan)
    with torch.no_grad():
        parts = [model.encoder(x[:, :, i : i + 16, :, k : k + 16])[-1] for i in (0, 16) for k in (0, 16)]
    assert found.dtype == np.float32
    assert found.shape == (model.encoder.channels[-1],)
    assert np.allclose(found, torch.cat(parts).mean((0, 2, 3, 4)).numpy(), atol=1e-5)


def test_networks_of_the_package_run_over_a_small_scan(capsys):
    scan = make_scan((13, 20, 9))
    assert predict(make_model(head="pretext"), scan).shape == (1, 13, 20, 9)
    assert "window" in capsys.readouterr().err
    found = predict(make_model(head="segmentation"), scan, progress=False)
    assert capsys.readouterr().err == ""
    assert found.shape == (3, 13, 20, 9)
    assert np.allclose(found.sum(0), 1, atol=1e-5)


def test_the_mode_of_every_module_is_put_back():
    model = make_model(head="segmentation").train()
    model.encoder.eval()
    before = [module.training for module in model.modules()]
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    predict(model, make_scan((16, 16, 16)), progress=False)
    embed(model, make_scan((16, 16, 16)), progress=False)
    assert [module.training for module in model.modules()] == before
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_the_mode_is_put_back_after_an_error():
    model = make_model(head="segmentation", in_chans=2).train()
    with pytest.raises(InvalidInputError, match="in_chans"):
        predict(model, make_scan((16, 16, 16)), progress=False)
    assert all(module.training for module in model.modules())


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overlap": 1.0}, r"overlap=1\.0: expected a share from 0 to below 1"),
        ({"overlap": -0.1}, "overlap=-0.1"),
        ({"overlap": "half"}, "overlap='half'"),
        ({"batch_size": 0}, "batch_size=0: expected a whole number of at least 1"),
        ({"patch_size": (16, 16)}, r"patch_size=\(16, 16\): expected three whole numbers"),
        ({"patch_size": (16, 16, 13)}, r"multiple of 8, for instance \(16, 16, 16\)"),
        ({"output": "logits"}, "output='logits': expected one of probabilities, labels"),
        ({"device": "abacus"}, "device='abacus' cannot be used .*: try 'cpu'"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        predict(make_model(head="segmentation"), make_scan(), progress=False, **settings)


def test_models_and_scans_that_cannot_be_used():
    scan = make_scan((16, 16, 16))
    with pytest.raises(InvalidInputError, match=r"classification head has not: call model.*sg_hub\.embed"):
        predict(make_model(head="classification"), scan)
    with pytest.raises(InvalidInputError, match=r"pretext head .* knows no labels.*head='segmentation'"):
        predict(make_model(head="pretext"), scan, output="labels")
    with pytest.raises(InvalidInputError, match=r"expected a Scan or an Image, not a ndarray: sg_hub\.load_scan"):
        predict(make_model(head="segmentation"), scan.array)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"Identity has no encoder: give a model of"):
        embed(Identity(), scan)
    bare = Bands(2)
    del bare.preprocessing
    with pytest.raises(InvalidInputError, match=r"Bands has no preprocessing: .*sg_hub\.Preprocessing"):
        predict(bare, scan)
    with pytest.raises(InvalidInputError, match=r"expected one scan \(1, C, X, Y, Z\)"):
        sliding_window(bare, torch.zeros(2, 1, 8, 8, 8), patch_size=PATCH)
    with pytest.raises(InvalidInputError, match=r"gives \(1, 1, 4, 4, 4\) for a patch of .* of the same size"):
        sliding_window(nn.MaxPool3d(2), torch.zeros(1, 1, 8, 8, 8), patch_size=PATCH)
