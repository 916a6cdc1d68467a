import pytest
import torch

from sg_hub import ImagePreprocessing, Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from tests.training.targets.target_folders import lidc_patches
from tests.training.trials.small_grid import run, small_weights
from training.data.leakage import patient_hashes


@pytest.fixture(scope="package")
def weights(tmp_path_factory):
    """Small untrained networks, in 3D as if it had been pre-trained on one patient of OpenKBP."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(99)
    model = SemanticGenesis3D(
        width=2,
        num_classes=3,
        norm="batch",
        preprocessing=Preprocessing(spacing=(8, 8, 6), input_size=(16, 16, 8)),
        provenance={"patients": patient_hashes("openkbp", ["pt_201"])},
    )
    model.save_pretrained(folder / "small3d")
    flat = SemanticGenesis2D(encoder="lcnet_050", decoder_width=4, preprocessing=ImagePreprocessing())
    flat.save_pretrained(folder / "small2d")
    return folder


@pytest.fixture(scope="package")
def place(tmp_path_factory):
    """Data, and weights."""
    folder = tmp_path_factory.mktemp("place")
    lidc_patches(folder / "data" / "lidc", patients=12)
    small_weights(folder / "small")
    return folder


@pytest.fixture(scope="package")
def finished(place, tmp_path_factory):
    """A grid of two initialisations, two targets and two trials."""
    out = tmp_path_factory.mktemp("results") / "out"
    return run(place, out, targets=["lidc-candidates", "lidc-nodules"])
