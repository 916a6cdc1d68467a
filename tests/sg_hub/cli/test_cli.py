"""The sg-hub command: exit codes, what goes to which stream, files, and one clear line for every mistake."""

import csv
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sg_hub import Preprocessing, SemanticGenesis3D, cli, load_scan
from sg_hub.cli import commands
from sg_hub.cli import cubes as cubes_of_a_scan
from sg_hub.errors import InvalidInputError
from sg_hub.io import pictures
from sg_hub.io.files import LABEL_MAPS, check_output, writing
from tests.folders import DEMO_SAMPLES

SAMPLES = sorted((DEMO_SAMPLES / "openkbp" / "ct").glob("*.nii.gz"))
CT, OTHER_CT = (str(path) for path in SAMPLES[:2])
PREPROCESSING = Preprocessing(input_size=(32, 32, 16), spacing=(8, 8, 6))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of the small models `pretext` and `segmentation`."""
    folder = tmp_path_factory.mktemp("models")
    for head in ("pretext", "segmentation"):
        model = SemanticGenesis3D(width=2, num_classes=5, head=head, norm="batch", preprocessing=PREPROCESSING)
        model.eval().save_pretrained(folder / head)
    return folder


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        out, error = capsys.readouterr()
        return code, out, error

    return run


def assert_mistake(result, *words):
    """Exit code 2, nothing on standard output, and one line that names the words."""
    code, out, error = result
    assert code == 2
    assert out == ""
    assert error.startswith("sg-hub: error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error


def image(path, array, **settings):
    """Write (z, y, x) as a scan."""
    result = sitk.GetImageFromArray(array, **settings)
    sitk.WriteImage(result, str(path))
    return path


def noise(*shape):
    return np.random.default_rng(0).normal(0, 300, shape).astype(np.float32)


@pytest.mark.parametrize("command", ["models", "info", "embed", "restore", "segment", "preprocess"])
def test_help_says_what_the_command_does(run, command):
    code, out, error = run(command, "--help")
    assert (code, error) == (0, "")
    assert f"usage: sg-hub {command}" in out
    assert "--help" in out
    assert command in run("--help")[1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "COMMAND"),
        (["embd"], "'embed'"),
        (["embed"], "SCAN"),
        (["restore", "x.nii", "--cubes", "0"], "from 1 to 32"),
        (["restore", "x.nii", "--seed", "-1"], "from 0"),
        (["segment", "x.nii", "--overlap", "1"], "below 1"),
        (["embed", "x.nii", "--nan", "nan"], "expected a number"),
        (["embed", "x.nii", "--colour"], "--colour"),
    ],
)
def test_wrong_options_are_one_line_that_leads_to_the_help(run, arguments, word):
    assert_mistake(run(*arguments), word, "--help")


def test_models_lists_what_is_registered(run, monkeypatch):
    from sg_hub.hub import registry

    entry = registry.PretrainedWeights(
        "some-model", "SemanticGenesis3D", "Made of tests.", "c0ffee", "0" * 64, "CC-BY-4.0", size_mb=2.5
    )
    monkeypatch.setattr(registry, "_registry", lambda: {"some-model": entry})
    code, out, _ = run("models")
    assert code == 0
    assert all(word in out for word in ("some-model", "SemanticGenesis3D", "2.5 MB", "CC-BY-4.0", "tests"))
    monkeypatch.setattr(registry, "_registry", dict)
    code, out, error = run("models")
    assert (code, out) == (0, "")
    assert "no models" in error


def test_info_says_what_the_model_expects(run, models):
    code, out, error = run("info", models / "pretext")
    assert (code, error) == (0, "")
    for expected in (
        "SemanticGenesis3D",
        "num_classes: 5",
        "preprocessing.spacing: [8.0, 8.0, 6.0]",
        "sha256",
    ):
        assert expected in out


def test_embed_prints_csv(run, models):
    code, out, error = run("embed", CT, "--model", models / "pretext")
    assert code == 0
    header, row = csv.reader(out.splitlines())
    assert header[:2] == ["scan", "feature_0"]
    assert row[0] == CT
    assert len(header) == len(row) == 1 + 16 * 2
    assert "window" in error  # the progress bar


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_embed_of_several_scans_writes_a_row_per_scan(run, models, suffix):
    out = f"features{suffix}"
    code, _, error = run("embed", CT, OTHER_CT, "--model", models / "pretext", "--out", out, "--quiet")
    assert (code, error) == (0, "")
    if suffix == ".npy":
        features = np.load(out)
    else:
        rows = list(csv.reader(Path(out).read_text(encoding="utf-8").splitlines()))
        assert [row[0] for row in rows] == ["scan", CT, OTHER_CT]
        features = np.array([row[1:] for row in rows[1:]], dtype=float)
    assert features.shape == (2, 32)
    assert not np.allclose(features[0], features[1])
    assert os.listdir() == [out]


def test_embed_stops_before_the_work_when_a_scan_is_missing(run, models, monkeypatch):
    monkeypatch.setattr(commands, "embed", lambda *_, **__: pytest.fail("worked on the first scan"))
    assert_mistake(run("embed", CT, "missing.nii", "--model", models / "pretext"), "missing.nii")


def test_restore_draws_input_corrupted_and_restored(run, models):
    code, out, error = run("restore", CT, "--model", models / "pretext", "--cubes", 2)
    assert (code, error) == (0, "")
    assert "mean squared error" in out
    assert out.endswith("restored.png\n")
    from PIL import Image

    with Image.open("restored.png") as picture:
        assert picture.height > 3 * 100


def test_restore_takes_a_scan_smaller_than_the_window(run, models, tmp_path):
    scan = image(tmp_path / "small.nii.gz", noise(3, 4, 5))
    assert run("restore", scan, "--model", models / "pretext", "--cubes", 1)[0] == 0


def test_same_seed_draws_the_same_picture(run, models):
    pictures = []
    for seed in (1, 1, 2):
        run("restore", CT, "--model", models / "pretext", "--cubes", 2, "--seed", seed)
        pictures.append(Path("restored.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_boxes_hide_a_third_of_each_side(models):
    cubes = cubes_of_a_scan.draw_cubes(PREPROCESSING.apply(load_scan(CT)), (32, 32, 16), 2, seed=0)
    assert cubes.shape == (2, 1, 32, 32, 16)
    changed = cubes_of_a_scan.hide_boxes(cubes, seed=0) != cubes
    assert changed[:, :, 10:22, 10:22, 5:11].float().mean() > 0.99
    assert changed.sum() <= 2 * 12 * 12 * 6


def test_segment_writes_a_label_map_on_the_scan_and_a_picture(run, models):
    model = models / "segmentation"
    code, out, error = run("segment", CT, "--model", model, "--overlap", 0, "--picture", "p.png", "--quiet")
    assert (code, error) == (0, "")
    written, scan = sitk.ReadImage("labels.nii.gz"), sitk.ReadImage(CT)
    assert written.GetSize() == scan.GetSize()
    np.testing.assert_allclose(written.GetOrigin(), scan.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(written.GetDirection(), scan.GetDirection(), atol=1e-6)
    labels = sitk.GetArrayFromImage(written)
    assert f"class 3: {(labels == 3).sum()} voxels" in out
    assert sorted(os.listdir()) == ["labels.nii.gz", "p.png"]


@pytest.mark.parametrize("suffix", LABEL_MAPS)
def test_label_maps_of_every_allowed_suffix_can_be_written(tmp_path, suffix):
    scan = load_scan(CT)
    labels = np.zeros(scan.size, dtype=np.uint8)
    assert scan.save(labels, check_output(tmp_path / f"labels{suffix}", LABEL_MAPS)).is_file()


def test_preprocess_writes_what_the_network_sees(run, models):
    code, out, error = run("preprocess", CT, "--model", models / "pretext", "--out", "x.npy", "--picture", "p.png")
    assert (code, error) == (0, "")
    np.testing.assert_array_equal(np.load("x.npy"), PREPROCESSING.apply(load_scan(CT)).numpy())
    assert str(np.load("x.npy").shape) in out
    assert sorted(os.listdir()) == ["p.png", "x.npy"]


OUTPUTS = {
    "embed": ("pretext", "--out", ".npy"),
    "restore": ("pretext", "--out", ".png"),
    "segment": ("segmentation", "--out", ".nii.gz"),
    "preprocess": ("pretext", "--picture", ".png"),
}


@pytest.mark.parametrize("command", OUTPUTS)
def test_impossible_outputs_are_refused_before_the_work(run, models, command, monkeypatch):
    def never(*_, **__):
        pytest.fail("loaded before the output was checked")

    monkeypatch.setattr(commands, "load_scan", never)
    monkeypatch.setattr(commands, "from_pretrained", never)
    head, option, suffix = OUTPUTS[command]
    os.mkdir(f"folder{suffix}")
    start = [command, CT, "--model", models / head, option]
    assert_mistake(run(*start, f"missing/result{suffix}"), "missing does not exist")
    assert_mistake(run(*start, "result.txt"), "result.txt", suffix)
    assert_mistake(run(*start, f"folder{suffix}"), "is a folder")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert_mistake(run(*start, f"result{suffix}"), "may not write")


def test_the_scan_is_never_replaced_by_the_result(run, models, tmp_path):
    scan = tmp_path / "scan.nii.gz"
    shutil.copy(CT, scan)
    before = scan.read_bytes()
    assert_mistake(run("segment", "scan.nii.gz", "--out", scan, "--model", models / "segmentation"), "would be lost")
    assert scan.read_bytes() == before


def test_a_write_that_fails_leaves_the_older_file(tmp_path):
    path = tmp_path / "result.npy"
    path.write_bytes(b"older")

    def fail(error):
        with writing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(OSError, match=r"cannot be written \(No space left\)"):
        fail(OSError(28, "No space left"))
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["result.npy"]
    with pytest.raises(InvalidInputError, match=r"\.csv"):
        check_output(path, [".csv"])


def _empty(folder):
    (folder / "scan.nii.gz").touch()


def _truncated(folder):
    (folder / "scan.nii.gz").write_bytes(Path(CT).read_bytes()[:9000])


def _text(folder):
    (folder / "scan.nii.gz").write_text("not a scan at all", encoding="utf-8")


def _four_dimensions(folder):
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(noise(4, 4, 4))] * 3), folder / "scan.nii.gz")


def _colour(folder):
    image(folder / "scan.nii.gz", noise(4, 4, 4, 3).astype(np.uint8), isVector=True)


def _constant(folder):
    image(folder / "scan.nii.gz", np.full((4, 4, 4), 7, np.float32))


def _nan(folder):
    values = noise(4, 4, 4)
    values[1, 2, 3] = np.nan
    image(folder / "scan.nii.gz", values)


def _zero_spacing(folder):
    header = "NDims = 3\nDimSize = 2 2 2\nElementType = MET_SHORT\nElementSpacing = 1 0 1\n"
    (folder / "scan.mhd").write_text(f"ObjectType = Image\n{header}ElementDataFile = scan.raw\n", encoding="utf-8")
    (folder / "scan.raw").write_bytes(bytes(range(16)))


def _folder_without_scans(folder):
    (folder / "scan").mkdir()
    (folder / "scan" / "notes.txt").write_text("nothing here", encoding="utf-8")


BAD_SCANS = {
    _empty: ("scan.nii.gz", "empty"),
    _truncated: ("scan.nii.gz", "truncated"),
    _text: ("scan.nii.gz", "damaged"),
    _four_dimensions: ("scan.nii.gz", "4D"),
    _colour: ("scan.nii.gz", "colour"),
    _constant: ("scan.nii.gz", "7"),
    _nan: ("scan.nii.gz", "nan"),
    _zero_spacing: ("scan.mhd", "spacing"),
    _folder_without_scans: ("scan", "no"),
}


@pytest.mark.parametrize("make", BAD_SCANS, ids=lambda make: make.__name__.strip("_"))
def test_a_bad_scan_is_one_clear_line_and_nothing_is_written(run, models, tmp_path, make):
    name, word = BAD_SCANS[make]
    make(tmp_path)
    before = sorted(os.listdir())
    result = run("embed", name, "--model", models / "pretext", "--out", "features.npy", "--quiet")
    assert_mistake(result, name, word)
    assert sorted(os.listdir()) == before


def test_nan_voxels_can_be_replaced(run, models, tmp_path):
    _nan(tmp_path)
    assert run("embed", "scan.nii.gz", "--model", models / "pretext", "--nan", "-1000", "--out", "f.npy")[0] == 0
    assert np.isfinite(np.load("f.npy")).all()


def test_a_bad_model_is_one_clear_line(run, models, tmp_path):
    damaged, newer = tmp_path / "damaged", tmp_path / "newer"
    shutil.copytree(models / "pretext", damaged)
    shutil.copytree(models / "pretext", newer)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    config = json.loads((newer / "config.json").read_text(encoding="utf-8"))
    (newer / "config.json").write_text(json.dumps({**config, "config_version": 99}), encoding="utf-8")
    assert_mistake(run("embed", CT, "--model", damaged), "model.safetensors", "damaged")
    assert_mistake(run("info", newer), "99", "upgrade")
    assert_mistake(run("info", "no-such-model"), "no-such-model", "registered name")


def test_a_head_that_cannot_do_it_is_said(run, models):
    assert_mistake(run("segment", CT, "--model", models / "pretext"), "fine-tuned for segmentation")
    assert_mistake(run("restore", CT, "--model", models / "segmentation"), "pretext")


def test_series_is_for_one_scan(run, models):
    assert_mistake(run("embed", CT, OTHER_CT, "--series", "1.2", "--model", models / "pretext"), "one scan")


def test_warnings_show_only_when_asked_for(run, models, monkeypatch):
    def warn(name):
        warnings.warn("a library says something", stacklevel=1)
        return SemanticGenesis3D.from_pretrained(name)

    monkeypatch.setattr(commands, "from_pretrained", warn)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run("info", models / "pretext")[0] == 0
        assert caught == []
        assert run("info", models / "pretext", "--verbose")[0] == 0
        assert [str(warning.message) for warning in caught] == ["a library says something"]


def test_stopping_is_no_traceback(run, models, monkeypatch):
    def stop(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "from_pretrained", stop)
    code, _, error = run("info", models / "pretext")
    assert code == 130
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(models):
    command = [sys.executable, "-m", "sg_hub.cli", "info", str(models / "pretext")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("command", ["restore", "segment", "preprocess"])
def test_pictures_of_anisotropic_scans_have_their_true_shape(run, models, tmp_path, monkeypatch, command):
    scan = sitk.GetImageFromArray(noise(12, 20, 24))
    scan.SetSpacing((4.0, 8.0, 18.0))
    sitk.WriteImage(scan, tmp_path / "scan.nii.gz")
    drawn = []

    def montage(rows, *arguments, **options):
        drawn.extend(rows)
        return draw(rows, *arguments, **options)

    draw = pictures.montage
    monkeypatch.setattr(pictures, "montage", montage)
    model = models / ("segmentation" if command == "segment" else "pretext")
    option = "--out" if command == "restore" else "--picture"
    assert run(command, "scan.nii.gz", "--model", model, option, "p.png", "--quiet")[0] == 0
    # (y, x) and (z, x) in mm: of the scan's voxels, or of the network's, which are 8 x 8 x 6 here.
    axial, coronal = ((8, 4), (18, 4)) if command == "segment" else ((8, 8), (6, 8))
    assert [row.pixel for row in drawn] == ([axial] * 3 if command == "restore" else [axial, coronal])
