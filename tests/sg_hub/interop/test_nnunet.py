"""Plans and weights for nnU-Net: the network of the plans is ours, turned; and nnU-Net itself takes them."""

import json
import os
import pydoc
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from sg_hub import InvalidInputError, Preprocessing, ReadError, SemanticGenesis3D, cli
from sg_hub.interop.nnunet import NnunetNetwork, export_nnunet
from sg_hub.models.families.medicalnet import MedicalNet
from tests.repository.documents import blocks
from tests.support.folders import ROOT
from tests.training.targets import target_folders

CT = Preprocessing(low=-500, high=300, spacing=(2, 3, 4), input_size=(24, 16, 12))


def model_of(**settings):
    torch.manual_seed(0)
    given = {"norm": "instance", "head": "segmentation", "num_classes": 3, "preprocessing": CT} | settings
    return SemanticGenesis3D(width=2, **given).eval()


@pytest.fixture
def planned(tmp_path):
    """What nnU-Net leaves of a data set whose axes it turned: z, y, x as y, z, x."""
    folder = tmp_path / "Dataset007_Liver"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}))
    own = {
        "batch_size": 3,
        "spacing": [1.5, 5, 1],
        "median_image_size_in_voxels": [60, 20, 80],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "architecture": {"network_class_name": "theirs"},
    }
    plans = {
        "image_reader_writer": "SimpleITKIO",
        "dataset_name": "Dataset007_Liver",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [1, 0, 2],
        "transpose_backward": [1, 0, 2],
        "original_median_spacing_after_transp": [1.5, 5, 1],
        "original_median_shape_after_transp": [60, 20, 80],
        "configurations": {"2d": {}, "3d_fullres": own},
        "foreground_intensity_properties_per_channel": {"0": {"mean": 80.0, "max": 900.0}},
    }
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    return folder


def network_of(plans, classes=2, **options):
    """As nnU-Net builds it."""
    told = plans["configurations"]["3d_fullres"]["architecture"]
    assert told["_kw_requires_import"] == []
    cls = pydoc.locate(told["network_class_name"])
    return cls(input_channels=1, num_classes=classes, **told["arch_kwargs"], **options).eval()


def test_the_plans_are_theirs_but_for_what_the_weights_decide(planned):
    plans = json.loads(export_nnunet(model_of(), planned)[0].read_text())
    own = plans["configurations"]["3d_fullres"]
    assert (plans["plans_name"], plans["image_reader_writer"]) == ("sgHubPlans", "NibabelIOWithReorient")
    assert (plans["transpose_forward"], plans["original_median_spacing_after_transp"]) == ([0, 1, 2], [5, 1.5, 1])
    assert (own["spacing"], own["patch_size"], own["batch_size"]) == ([4, 3, 2], [16, 16, 24], 3)
    assert own["median_image_size_in_voxels"] == [25, 30, 40]
    values = plans["foreground_intensity_properties_per_channel"]["0"]
    for hu in (-800, -500, -100, 300, 900):  # nnU-Net's CTNormalization
        found = (min(max(hu, values["percentile_00_5"]), values["percentile_99_5"]) - values["mean"]) / values["std"]
        assert found == pytest.approx(min(max((hu + 500) / 800, 0), 1))
    assert own["normalization_schemes"] == ["CTNormalization"]


def test_a_spacing_of_the_data_set_is_taken_where_it_is_along_the_bodys_axes(planned):
    """nnU-Net's other readers give that of each file's own axes, which of a sagittal file are others."""
    plans = json.loads((planned / "nnUNetPlans.json").read_text())
    for reader in ("SimpleITKIO", None):
        (planned / "nnUNetPlans.json").write_text(json.dumps(plans | {"image_reader_writer": reader}))
        with pytest.raises(InvalidInputError, match=r"files' own axes .*overwrite_image_reader_writer.*--clean"):
            export_nnunet(model_of(preprocessing=Preprocessing()), planned)
        export_nnunet(model_of(), planned)  # it has a spacing of its own
    (planned / "nnUNetPlans.json").write_text(json.dumps(plans | {"image_reader_writer": "NibabelIOWithReorient"}))
    written = json.loads(export_nnunet(model_of(preprocessing=Preprocessing()), planned)[0].read_text())
    assert written["configurations"]["3d_fullres"]["spacing"] == [5, 1.5, 1]


def test_the_network_of_the_plans_has_the_weights_and_sees_scans_as_they_were_trained(planned):
    model = model_of()
    plans, weights = (path.read_bytes() for path in export_nnunet(model, planned))
    state = torch.load(planned / "sgHubWeights.pth", weights_only=True)["network_weights"]
    assert weights
    network = network_of(json.loads(plans), classes=3, deep_supervision=True)
    assert state.keys() == network.state_dict().keys()
    kept = {key: value for key, value in state.items() if ".seg_layers." not in key}  # as nnU-Net does it
    network.load_state_dict({**network.state_dict(), **kept})
    network.decoder.seg_layers[0].load_state_dict(model.segmentation.state_dict())
    x = torch.rand(1, 1, 16, 24, 32)  # (x, y, z) in LPS
    theirs = x.flip((2, 3)).permute(0, 1, 4, 3, 2)  # (z, y, x) in RAS
    with torch.inference_mode():
        found = network(theirs)
        wanted = model(x)
    assert [tuple(level.shape[1:]) for level in found] == [(3, 32, 24, 16), (3, 16, 12, 8), (3, 8, 6, 4)]
    torch.testing.assert_close(found[0].permute(0, 1, 4, 3, 2).flip((2, 3)), wanted)
    network.decoder.deep_supervision = False
    with torch.inference_mode():
        torch.testing.assert_close(network(theirs), found[0])


def test_targets_of_deep_supervision_have_the_sizes_of_the_outputs(planned):
    model = MedicalNet(depth=10, head="segmentation", num_classes=2, preprocessing=CT)
    plans = json.loads(export_nnunet(model, planned)[0].read_text())
    network = network_of(plans, deep_supervision=True)
    strides = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["strides"]
    scales = torch.tensor(strides).cumprod(0)[:-1]  # nnU-Net's
    with torch.inference_mode():
        found = network(torch.rand(1, 1, 16, 16, 32))
    assert [list(level.shape[2:]) for level in found] == (torch.tensor([16, 16, 32]) // scales).tolist()


def test_what_cannot_be_exported_is_said(planned, tmp_path):
    with pytest.raises(ReadError, match=r"nnUNetPlans\.json is not there: .*plan it first"):
        export_nnunet(model_of(), tmp_path)
    with pytest.raises(InvalidInputError, match="with a classification head"):
        export_nnunet(model_of(head="classification"), planned)
    with pytest.raises(InvalidInputError, match="has 1 channels, the model in_chans=2"):
        export_nnunet(model_of(in_chans=2), planned)
    for intensity, low, high in (("percentile", 1, 99), ("zscore", -3, 3)):
        reckoned = Preprocessing(modality="MR", intensity=intensity, low=low, high=high)
        with pytest.raises(InvalidInputError, match=f"intensities by {intensity}"):
            export_nnunet(model_of(preprocessing=reckoned), planned)
    with pytest.raises(InvalidInputError, match=r"every scan resized to \(32, 32, 32\) voxels"):
        export_nnunet(model_of(preprocessing=Preprocessing(size=(32, 32, 32))), planned)
    (planned / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "file_ending": ".mha"}))
    with pytest.raises(InvalidInputError, match=r"file_ending '\.mha'"):
        export_nnunet(model_of(), planned)
    (planned / "nnUNetPlans.json").write_text(json.dumps({"configurations": {"2d": {}}}))
    (planned / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}))
    with pytest.raises(ReadError, match="no plans with the configuration 3d_fullres"):
        export_nnunet(model_of(), planned)
    assert not (planned / "sgHubPlans.json").exists()


def test_the_command_says_how_nnunet_goes_on(planned, tmp_path, capsys):
    model_of(head="pretext").save_pretrained(tmp_path / "net")
    assert cli.main(["export", str(tmp_path / "net"), "--nnunet", str(planned)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "nnUNetv2_preprocess -d 7 -plans_name sgHubPlans -c 3d_fullres"
    assert lines[3].startswith("nnUNetv2_train 7 3d_fullres 0 -p sgHubPlans -pretrained_weights ")
    assert cli.main(["export", str(tmp_path / "net"), "--nnunet", str(planned), "--embedding"]) == 2
    assert isinstance(network_of(json.loads((planned / "sgHubPlans.json").read_text())), NnunetNetwork)


TRAIN = """
import sys
import torch
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

initialize, run_training = nnUNetTrainer.initialize, nnUNetTrainer.run_training

def short(self):
    initialize(self)
    self.num_epochs = self.num_iterations_per_epoch = self.num_val_iterations_per_epoch = 1

def checked(self):
    given = torch.load(sys.argv[sys.argv.index("-pretrained_weights") + 1], weights_only=True)["network_weights"]
    for key, value in self.network.state_dict().items():
        assert ".seg_layers." in key or torch.equal(value, given[key]), key
    run_training(self)
    print("trained")

nnUNetTrainer.initialize, nnUNetTrainer.run_training = short, checked
run_training_entry()
"""
SHELL = """
set -e
sg-hub() { "$PYTHON" -m sg_hub "$@"; }
nnUNetv2_train() { "$PYTHON" -W ignore -c "$TRAIN" "$@" -device cpu; }
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("nnunetv2"), reason="nnunetv2 is not installed (the extra nnunet: 180 MB)")
def test_nnunet_itself_does_what_the_page_shows(tmp_path):
    """The commands of docs/other-tools.md, with one step of training."""
    page = blocks(ROOT / "docs" / "other-tools.md")
    shown = next(block.text for block in page if block.text.startswith("nnUNetv2_plan_and_preprocess"))
    target_folders.nnunet(tmp_path / "raw" / "Dataset007_Liver")
    places = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    for place in places.values():
        Path(place).mkdir(exist_ok=True)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    told = {"PYTHON": sys.executable, "TRAIN": TRAIN, "PATH": path, "PYTHONPATH": str(ROOT)}
    environment = os.environ | places | told | {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1"}
    done = subprocess.run(
        ["bash", "-c", SHELL + shown], env=environment, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "trained" in done.stdout.splitlines()
    assert list((tmp_path / "results").rglob("checkpoint_final.pth"))
    cases = tmp_path / "preprocessed" / "Dataset007_Liver" / "sgHubPlans_3d_fullres"
    data = np.asarray(import_module("blosc2").open(str(next(cases.glob("pat0_0*.b2nd"))))[:])
    assert data.shape == (1, 10, 7, 8)  # of 4 x 4 x 3 mm, z first
    assert 0 <= data.min() < data.max() <= 1
