"""Published checkpoints: the same numbers, and a clear no to everything else."""

import json
import pickle

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import save_file

import sg_hub
from sg_hub import InvalidInputError, ReadError, SgHubError, cli, convert
from tests.sg_hub.conversion.published import FOLDER, checkpoint, close, cubes, light, reference
from tests.support.folders import ROOT

# -- the same numbers --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_fixture_of_the_published_network(converted):
    expected = np.load(FOLDER / "expected.npz")
    model = sg_hub.from_pretrained(converted)
    x = torch.from_numpy(expected["x"].astype(np.float32))
    with torch.inference_mode():
        output, bottleneck = model(x), model.encoder(x)[-1]
    for found, name in (
        (output.restoration[..., ::4], "restoration"),
        (output.pattern_logits.softmax(1), "class_probabilities"),
        (bottleneck.mean((2, 3, 4)), "bottleneck_gap"),
    ):
        np.testing.assert_allclose(found.numpy(), expected[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", ["batch_stats", "batch"])
def test_it_computes_what_the_description_says(converted, state, norm):
    model = sg_hub.from_pretrained(converted, norm=norm)
    with torch.inference_mode():
        output = model(cubes())
        restoration, logits, _ = reference(state, cubes(), norm)
    close(output.restoration, restoration)
    close(output.pattern_logits, logits)


def test_running_statistics_on_request_are_those_of_the_file(state, tmp_path):
    torch.save(checkpoint(state), tmp_path / "a.pt")
    model = sg_hub.from_pretrained(convert(tmp_path / "a.pt", tmp_path / "out", norm="batch"))
    assert model.norm == "batch"
    stored = model.state_dict()
    assert torch.equal(stored["encoder.levels.0.0.norm.running_var"], state["down_tr64.ops.0.bn1.running_var"])
    assert stored["encoder.levels.0.0.norm.num_batches_tracked"] == 7
    with torch.inference_mode():
        close(model(cubes()).restoration, reference(state, cubes(), "batch")[0])


@pytest.mark.parametrize("in_chans", [1, 2, 3, 4])
@pytest.mark.parametrize("head", ["pretext", "restoration", "segmentation", "classification"])
def test_a_converted_folder_takes_every_head_and_channel_count(converted, head, in_chans):
    classes = 3 if head in ("segmentation", "classification") else None
    model = sg_hub.from_pretrained(converted, head=head, num_classes=classes, in_chans=in_chans)
    with torch.inference_mode():
        output = model(cubes(1).expand(-1, in_chans, -1, -1, -1))
    shape = {"pretext": (1, 44), "classification": (1, 3), "segmentation": (1, 3, 16, 16, 8)}
    found = output.pattern_logits if head == "pretext" else output
    assert found.shape == shape.get(head, (1, in_chans, 16, 16, 8))
    report = model.load_report
    assert sorted(report.loaded + report.adapted + report.reset) == sorted(model.state_dict())


# -- what files may look like ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module.", "classficationNet.", "module.classficationNet.", "module.module."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_prefixes_wrappers_and_extra_keys(tmp_path, prefix, wrapped):
    state = light(classes=7)
    state["projection_head.0.weight"] = torch.zeros(3)
    state["prototypes.weight"] = torch.zeros(3, 2)
    content = checkpoint(state, prefix)
    torch.save(content if wrapped else content["state_dict"], tmp_path / "any_name.bin")
    folder = convert(tmp_path / "any_name.bin", tmp_path / "out")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["num_classes"] == 7
    assert config["provenance"]["left_out"] == [prefix + "projection_head.0.weight", prefix + "prototypes.weight"]
    assert sorted(path.name for path in folder.iterdir()) == ["NOTICE", "README.md", "config.json", "model.safetensors"]


def test_files_of_older_torch_and_in_half_precision(tmp_path):
    state = {key: value.half() if value.is_floating_point() else value for key, value in light().items()}
    torch.save(checkpoint(state), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    model = sg_hub.from_pretrained(convert(tmp_path / "old.pt", tmp_path / "out"))
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_the_folder_carries_licence_source_and_how_to_read_it(converted):
    card = ModelCard.load(converted / "README.md")
    assert card.data.license == "other"
    assert card.data.license_name == "asu-github-project-license"
    assert card.data.license_link.startswith("https://")
    assert card.data.eval_results is None
    for words in ("non-commercial", "outputs depend on what else is in the batch", "-1000.0 to 1000.0 HU", "MICCAI"):
        assert words in card.text
    provenance = sg_hub.from_pretrained(converted).provenance
    assert provenance["licence"] == "other"
    assert provenance["file"] == "semantic_genesis_chest_ct.pt"
    assert len(provenance["file_sha256"]) == 64


def test_weights_fine_tuned_from_them_keep_the_licence(converted, tmp_path):
    sg_hub.from_pretrained(converted, num_classes=2).save_pretrained(tmp_path)
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.license, data.license_name) == ("other", "asu-github-project-license")
    sg_hub.SemanticGenesis3D(width=1).save_pretrained(tmp_path / "own")
    assert ModelCard.load(tmp_path / "own" / "README.md").data.license is None


# -- refused -----------------------------------------------------------------------------------------------------------


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path, zipped):
    content = checkpoint(light()) | {"best_acc": Runs(tmp_path / "was_run")}
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ReadError, match="other things than tensors"):
        convert(tmp_path / "evil.pt", tmp_path / "out")
    assert not (tmp_path / "was_run").exists()
    assert not (tmp_path / "out").exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(ReadError, match=r"torch\.nn\.modules\.linear\.Linear.*not\s+loaded"):
        convert(tmp_path / "module.pt", tmp_path / "out")


def pickled(path):
    path.write_bytes(pickle.dumps({"state_dict": {"a": 1}}, protocol=2))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("<!DOCTYPE html><html>log in"), "web page"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "git LFS"),
        (lambda path: path.write_bytes(b"PK\x03\x04 and nothing more"), "damaged"),
        (lambda path: path.write_bytes(b"\x80\x02 and nothing more"), "damaged"),
        (lambda path: path.write_bytes(b"\x00\x01\x02"), r"no file of torch\.save"),
        (lambda path: save_file({"a": torch.zeros(2)}, path), "is of none of the networks .*: it holds a"),
        (pickled, "damaged|no state dict"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: None, "does not exist"),
    ],
)
def test_other_files_are_refused_with_what_they_are(tmp_path, write, words):
    write(tmp_path / "file.pt")
    with pytest.raises(SgHubError, match=words) as error:
        convert(tmp_path / "file.pt", tmp_path / "out")
    assert "semantic_genesis_chest_ct.pt" in str(error.value)
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(tmp_path, zipped, share):
    torch.save(checkpoint(light()), tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    data = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ReadError, match="damaged"):
        convert(tmp_path / "cut.pt", tmp_path / "out")


def changed(**values):
    """The state dict with some tensors replaced; None removes one."""
    state = light() | {key.replace("__", "."): value for key, value in values.items()}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (changed(up_tr128__up_conv__weight=None), ["1 keys are missing: up_tr128.up_conv.weight"]),
        (changed(clc_out__conv1__bias=None), ["1 keys are missing: clc_out.conv1.bias"]),
        (changed(clc_out__fc1__weight=None), ["1 keys are missing: clc_out.fc1.weight"]),
        (changed(novel__weight=torch.zeros(2)), ["1 are unexpected: novel.weight"]),
        (
            changed(down_tr64__ops__0__conv1__weight=torch.zeros(16, 1, 3, 3, 3)),
            ["down_tr64.ops.0.conv1.weight has (16, 1, 3, 3, 3), expected (32, 1, 3, 3, 3)"],
        ),
        (changed(clc_out__fc1__bias=torch.zeros(5)), ["clc_out.fc1.bias has (5,), expected (44,)"]),
        (changed(out_tr__final_conv__bias=torch.tensor([float("nan")])), ["no finite numbers: out_tr.final_conv.bias"]),
        (
            changed(
                out_tr__final_conv__bias=torch.ones(1, dtype=torch.int32), clc_out__bn1__weight=torch.ones(1024).bool()
            ),
            ["2 have the wrong type", "out_tr.final_conv.bias is torch.int32", "clc_out.bn1.weight is torch.bool"],
        ),
        (
            changed(down_tr64__ops__0__bn1__num_batches_tracked=torch.tensor(1.5)),
            ["1 have the wrong type: down_tr64.ops.0.bn1.num_batches_tracked is torch.float32, expected whole"],
        ),
        (
            changed(down_tr64__ops__0__bn1__running_var=torch.full((32,), -0.5)),
            ["1 hold negative values, where there can be none: down_tr64.ops.0.bn1.running_var"],
        ),
        (
            changed(out_tr__final_conv__bias=torch.tensor([1e300], dtype=torch.float64)),
            ["no finite numbers: out_tr.final_conv.bias"],
        ),
        (changed(out_tr__final_conv__bias="text"), ["out_tr.final_conv.bias is a str"]),
        (light() | {"module.out_tr.final_conv.bias": torch.zeros(1)}, ["two of its keys are out_tr.final_conv.bias"]),
        (
            {"conv1.weight": torch.zeros(8, 3, 7, 7), "layer1.0.bn1.bias": torch.zeros(64)},
            ["MedicalNet. 70 keys", "conv1.weight has (8, 3, 7, 7)"],
        ),
        ({"stem.weight": torch.zeros(8, 3, 7, 7)}, ["is of none of ", "I3D, MedicalNet", "it holds stem.weight"]),
        ({"weights": 1}, ["no state dict, but weights"]),
        ({}, ["no state dict"]),
    ],
)
def test_another_network_is_refused_by_its_keys(tmp_path, state, words):
    torch.save({"state_dict": state}, tmp_path / "other.pt")
    with pytest.raises(InvalidInputError) as error:
        convert(tmp_path / "other.pt", tmp_path / "out")
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "out").exists()


def test_other_files_in_the_folder_are_not_overwritten(tmp_path):
    torch.save(checkpoint(light()), tmp_path / "a.pt")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"README\.md of something else"):
        convert(tmp_path / "a.pt", tmp_path / "mine")
    assert [path.read_text(encoding="utf-8") for path in (tmp_path / "mine").iterdir()] == ["mine"]
    with pytest.raises(InvalidInputError, match=r"holds other files \(a\.pt, mine\)"):
        convert(tmp_path / "a.pt", tmp_path)
    with pytest.raises(InvalidInputError, match="norm='layer'"):
        convert(tmp_path / "a.pt", tmp_path / "other", norm="layer")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_untouched_conversion_can_be_made_again(tmp_path):
    torch.save(checkpoint(light()), tmp_path / "a.pt")
    folder = convert(tmp_path / "a.pt", tmp_path / "out")
    before = contents(folder)
    assert convert(tmp_path / "a.pt", folder) == folder
    (folder / "README.md").unlink()  # as one that was interrupted
    convert(tmp_path / "a.pt", folder)
    assert contents(folder) == before


@pytest.mark.parametrize("change", ["weights", "config", "card", "norm"])
def test_a_model_that_was_made_of_a_conversion_is_not_overwritten(tmp_path, change):
    torch.save(checkpoint(light()), tmp_path / "a.pt")
    folder, norm = convert(tmp_path / "a.pt", tmp_path / "out"), "batch_stats"
    if change == "weights":  # fine-tuned: the provenance in its config stays that of the conversion
        model = sg_hub.from_pretrained(folder)
        with torch.no_grad():
            model.restoration.bias += 1
        model.save_pretrained(folder)
    elif change == "config":
        sg_hub.from_pretrained(folder, num_classes=2).save_pretrained(folder)
    elif change == "card":
        (folder / "README.md").write_text("mine", encoding="utf-8")
    else:
        norm = "batch"
    before = contents(folder)
    with pytest.raises(InvalidInputError, match=r"would be overwritten: give a new folder"):
        convert(tmp_path / "a.pt", folder, norm=norm)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("a.pt", r"a\.pt is a file"),
        ("a.pt/sub/folder", r"a\.pt is a file"),
        ("a\0b", "characters that no path can have"),
        ("/dev/null/x", "/dev/null is a file"),
        ("x" * 300, r"cannot be written \(File name too long\)"),
        (None, "not a value of type NoneType: give a new folder"),
    ],
)
def test_folders_that_cannot_be_written(tmp_path, folder, words):
    torch.save(checkpoint(light()), tmp_path / "a.pt")
    with pytest.raises(SgHubError, match=words):
        convert(tmp_path / "a.pt", None if folder is None else tmp_path / folder)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (None, "not a value of type NoneType"),
        (3, "not a value of type int"),
        (b"a.pt", "not a value of type bytes"),
        ("a\0b.pt", "characters"),
        ("\ud800.pt", "characters"),
        ("~no-such-user/a.pt", "home folder"),
        ("x" * 300, "does not exist"),
    ],
)
def test_files_that_cannot_be(tmp_path, file, words):
    with pytest.raises(SgHubError, match=words) as error:
        convert(file, tmp_path / "out")
    assert "semantic_genesis_chest_ct.pt" in str(error.value)


def test_a_checkpoint_given_as_a_model_is_sent_to_convert(tmp_path):
    torch.save(checkpoint(light()), tmp_path / "a.pt")
    with pytest.raises(InvalidInputError, match="sg-hub convert"):
        sg_hub.from_pretrained(tmp_path / "a.pt")


# -- the command, and the name -----------------------------------------------------------------------------------------


def test_the_command(tmp_path, capsys):
    state = light() | {"prototypes.weight": torch.zeros(2)}
    torch.save(checkpoint(state), tmp_path / "a.pt")
    assert cli.main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "out"), "--norm", "batch"]) == 0
    out = capsys.readouterr().out
    for words in ("44 patterns", "norm batch", "left out: module.prototypes.weight", "non-commercial"):
        assert words in out
    assert out.splitlines()[-1] == str(tmp_path / "out")
    assert sg_hub.from_pretrained(tmp_path / "out").norm == "batch"
    assert cli.main(["convert", str(tmp_path / "no.pt"), str(tmp_path / "out")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "load",
    [
        lambda: sg_hub.from_pretrained("semantic-genesis-3d"),
        lambda: sg_hub.from_pretrained("semantic-genesis-3d", revision="main", num_classes=2),
        lambda: sg_hub.SemanticGenesis3D.from_pretrained("semantic-genesis-3d"),
        lambda: torch.hub.load(str(ROOT), "semantic_genesis_3d", source="local", pretrained=True),
        lambda: torch.hub.load(str(ROOT), "semantic_genesis_3d_encoder", source="local", pretrained=True),
    ],
)
def test_the_published_name_says_how_to_get_the_weights(load):
    with pytest.raises(ReadError, match=r"zenodo\.org/records/4625297.*sg-hub convert"):
        load()


def test_the_list_of_models_says_how_to_get_them(capsys):
    assert cli.main(["models"]) == 0
    said = " ".join(capsys.readouterr().out.split())  # lines are as long as the terminal is wide
    assert "sg-hub convert semantic_genesis_chest_ct.pt FOLDER" in said
