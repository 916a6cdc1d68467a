"""Bundles: MONAI loads and runs them, and gives what sg_hub gives."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, load, run, verify_net_in_out

import sg_hub
from sg_hub import InvalidInputError, Preprocessing, SemanticGenesis3D, cli
from sg_hub.interop.monai_bundle import export_bundle, scans_in
from tests.sg_hub.interop.oriented import write_oriented

NAMES = ("background", "liver", "tumour")
COARSE = Preprocessing(spacing=(2.5, 2.5, 4), input_size=(16, 16, 16))
pytestmark = pytest.mark.filterwarnings("ignore")


def model_of(classes=3, **settings):
    torch.manual_seed(0)
    names = {"class_names": NAMES} if classes == 3 else {}
    given = {"head": "segmentation", "num_classes": classes, "preprocessing": COARSE, **names} | settings
    return SemanticGenesis3D(width=2, norm="instance", **given).eval()


def ran(folder, scans, out):
    places = {"bundle_root": str(folder), "dataset_dir": str(scans), "output_dir": str(out)}
    run(
        config_file=str(folder / "configs" / "inference.json"),
        logging_file=False,
        device="$torch.device('cpu')",
        **places,
    )


@pytest.mark.parametrize(("classes", "orientation", "side"), [(3, "oblique", 16), (1, "PIR", 13)])
def test_monai_runs_a_bundle_and_writes_what_predict_gives(tmp_path, classes, orientation, side):
    model = model_of(classes, preprocessing=dataclasses.replace(COARSE, input_size=(side,) * 3))
    ct, _ = write_oriented(tmp_path, orientation)
    (tmp_path / "scans").mkdir()
    shutil.move(ct, tmp_path / "scans")
    scan = sg_hub.load_scan(tmp_path / "scans" / "ct.nii.gz")
    if classes == 1:  # half of the scan is of the class
        with torch.no_grad():
            model.segmentation.bias -= model(model.preprocess(scan), pad=True).median()
    (tmp_path / "scans" / "p2").mkdir()
    shutil.copy(tmp_path / "scans" / "ct.nii.gz", tmp_path / "scans" / "p2")
    folder = export_bundle(model, tmp_path / "bundle")
    ran(folder, tmp_path / "scans", tmp_path / "out")
    assert (tmp_path / "out" / "p2" / "ct_labels.nii.gz").is_file()
    wanted = sg_hub.predict(model, scan, output="labels", progress=False)
    found = sg_hub.load_scan(tmp_path / "out" / "ct_labels.nii.gz", labels=True)
    np.testing.assert_allclose(found.origin, scan.origin, atol=1e-3)
    assert (found.array[0] != wanted).mean() < 1e-3  # where two classes are as probable
    assert len(np.unique(wanted)) > 1


def test_monai_loads_a_bundle_and_its_metadata_are_true(tmp_path):
    model = model_of()
    folder = export_bundle(model, tmp_path / "my-bundle")
    loaded = load("my-bundle", bundle_dir=tmp_path, workflow_type="inference", device="cpu")
    x = torch.rand(1, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.eval()(x), model(x))
    files = {"meta_file": str(folder / "configs/metadata.json"), "config_file": str(folder / "configs/inference.json")}
    verify_net_in_out(net_id="network_def", device="cpu", **files)
    told = ConfigParser.load_config_file(folder / "configs/metadata.json")
    assert told["network_data_format"]["outputs"]["pred"]["channel_def"] == dict(zip("012", NAMES, strict=True))


def test_what_a_bundle_takes_for_scans(tmp_path):
    for name in ("a.nii", "b.nii.gz", "b_labels.nii.gz", "c_labels.nii.gz", "p/a.nii", ".d.nii", "out/a_labels.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "x.nii.txt").touch()
    found = [str(tmp_path / name) for name in ("a.nii", "b.nii.gz", "c_labels.nii.gz", "p/a.nii")]
    assert scans_in(tmp_path, tmp_path / "out") == found
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(InvalidInputError, match=r"a\.nii and .*a\.nii\.gz have the same name: rename one"):
        scans_in(tmp_path, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="holds no scan in NIfTI"):
        scans_in(tmp_path / "empty", tmp_path / "out")


def test_the_name_of_an_only_class_is_kept(tmp_path):
    folder = export_bundle(model_of(num_classes=1, class_names=["lesion"]), tmp_path / "b")
    told = ConfigParser.load_config_file(folder / "configs/metadata.json")
    assert told["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "lesion"}


def test_only_bundles_are_replaced_and_only_segmentations_become_one(tmp_path, capsys):
    model_of().save_pretrained(tmp_path / "net")
    for _ in range(2):
        assert cli.main(["export", str(tmp_path / "net"), "--bundle", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "b")] * 2
    with pytest.raises(InvalidInputError, match=r"is there and holds .*, which is not of a bundle"):
        export_bundle(model_of(), tmp_path / "net")
    (tmp_path / "b" / "data").mkdir()
    (tmp_path / "b" / "data" / "scan.nii.gz").write_bytes(b"scan")
    with pytest.raises(InvalidInputError, match=r"b is there and holds data/scan\.nii\.gz"):
        export_bundle(model_of(), tmp_path / "b")
    assert (tmp_path / "b" / "data" / "scan.nii.gz").read_bytes() == b"scan"
    with pytest.raises(InvalidInputError, match="with a pretext head: bundles are made of segmentations"):
        export_bundle(model_of(head="pretext"), tmp_path / "c")
