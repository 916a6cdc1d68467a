import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sg_hub
from sg_hub import InvalidInputError, ReadError, SemanticGenesis3D
from sg_hub.hub import download as download_module
from sg_hub.hub import registry as registry_module
from tests.sg_hub.models.model_folders import change_config, change_state


def build(**options):
    torch.manual_seed(3)
    model = SemanticGenesis3D(**({"width": 2, "num_classes": 5, "norm": "batch"} | options))
    return model.eval()


@pytest.fixture
def folder(tmp_path):
    build().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def cube(c=1):
    return torch.rand(2, c, 16, 16, 8, generator=torch.Generator().manual_seed(1))


def same(a, b):
    with torch.inference_mode():
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y)


# -- round trips ------------------------------------------------------------------------------------------------


def test_saved_and_loaded_is_the_same_network(folder):
    loaded = SemanticGenesis3D.from_pretrained(folder)
    assert not loaded.training
    assert loaded.config() == build().config()
    report = loaded.load_report
    assert report.adapted == report.reset == report.left_out == []
    assert set(loaded.load_report.loaded) == set(build().state_dict())
    with torch.inference_mode():
        same(loaded(cube()), build()(cube()))
    same(sg_hub.from_pretrained(str(folder))(cube()), build()(cube()))


def test_half_precision_on_disk_single_precision_in_memory(tmp_path):
    build().save_pretrained(tmp_path, half=True)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["encoder.levels.0.0.conv.weight"].dtype == torch.float16
    assert stored["encoder.levels.0.0.norm.running_var"].dtype == torch.float32
    loaded = SemanticGenesis3D.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    with torch.inference_mode():
        torch.testing.assert_close(loaded(cube()).restoration, build()(cube()).restoration, atol=2e-3, rtol=0)


def test_config_holds_what_the_contract_names(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architecture"] == "SemanticGenesis3D"
    for key in ("width", "in_chans", "head", "num_classes", "norm", "preprocessing", "provenance", "config_version"):
        assert key in config
    for key in ("intensity", "low", "high", "spacing", "orientation", "input_size"):
        assert key in config["preprocessing"]


# -- heads, channels, norms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [1, 2, 3, 4])
@pytest.mark.parametrize("head", ["pretext", "segmentation", "classification"])
@pytest.mark.parametrize("norm", ["batch_stats", "batch", "instance"])
def test_every_combination_loads_and_runs(folder, c, head, norm):
    classes = None if head == "pretext" else 3
    model = SemanticGenesis3D.from_pretrained(folder, head=head, num_classes=classes, in_chans=c, norm=norm)
    with torch.inference_mode():
        out = model(cube(c))
    if head == "pretext":
        assert out.restoration.shape == (2, c, 16, 16, 8)
        assert out.pattern_logits.shape == (2, 5)
    else:
        assert out.shape == ((2, 3, 16, 16, 8) if head == "segmentation" else (2, 3))
    report = model.load_report
    every = set(model.state_dict())
    assert set(report.loaded) | set(report.adapted) | set(report.reset) == every
    assert len(report.loaded) + len(report.adapted) + len(report.reset) == len(every)
    assert ("encoder.levels.0.0.conv.weight" in report.adapted) == (c != 1)


@pytest.mark.parametrize("c", [2, 3, 4])
def test_more_channels_of_the_same_image_give_the_same_features(folder, c):
    one = SemanticGenesis3D.from_pretrained(folder)
    many = SemanticGenesis3D.from_pretrained(folder, in_chans=c)
    with torch.inference_mode():
        same(one.encoder(cube()), many.encoder(cube().expand(-1, c, -1, -1, -1)))


def test_fewer_channels_of_the_same_image_give_the_same_features(tmp_path):
    build(in_chans=3).save_pretrained(tmp_path)
    three, one = SemanticGenesis3D.from_pretrained(tmp_path), SemanticGenesis3D.from_pretrained(tmp_path, in_chans=1)
    with torch.inference_mode():
        same(one.encoder(cube()), three.encoder(cube().expand(-1, 3, -1, -1, -1)))


def test_a_new_head_keeps_every_weight_that_fits(folder):
    model = SemanticGenesis3D.from_pretrained(folder, head="segmentation", num_classes=3)
    assert model.load_report.reset == ["segmentation.weight", "segmentation.bias"]
    for key, value in build().state_dict().items():
        if key.startswith(("encoder.", "decoder.")):
            torch.testing.assert_close(model.state_dict()[key], value)
    classifier = SemanticGenesis3D.from_pretrained(folder, head="classification", num_classes=5)
    assert classifier.load_report.reset == ["classifier.fc.weight", "classifier.fc.bias"]
    assert not torch.equal(classifier.classifier.fc.weight, build().classifier.fc.weight)


def test_classes_alone_mean_a_segmentation_head(folder):
    assert SemanticGenesis3D.from_pretrained(folder, num_classes=2).head_name == "segmentation"


def test_a_fine_tuned_head_is_loaded_as_it_is(tmp_path):
    build(head="segmentation", num_classes=3).save_pretrained(tmp_path)
    again = SemanticGenesis3D.from_pretrained(tmp_path, head="segmentation", num_classes=3)
    assert again.load_report.reset == []
    other = SemanticGenesis3D.from_pretrained(tmp_path, num_classes=4)
    assert other.load_report.reset == ["segmentation.weight", "segmentation.bias"]
    assert other.load_report.left_out == ["segmentation.bias", "segmentation.weight"]


def test_a_head_without_its_number_of_classes_is_refused(folder):
    with pytest.raises(InvalidInputError, match="num_classes"):
        SemanticGenesis3D.from_pretrained(folder, head="segmentation")


def test_the_encoder_alone(folder):
    torch.manual_seed(11)
    model = SemanticGenesis3D.from_pretrained(folder, part="encoder")
    report, every = model.load_report, build().state_dict()
    assert report.loaded == [key for key in every if key.startswith("encoder.")]
    assert report.reset == [key for key in every if not key.startswith("encoder.")]
    assert report.left_out == sorted(report.reset)
    assert "of the encoder alone" in str(report)
    for key, value in model.state_dict().items():
        if key.startswith("encoder."):
            assert torch.equal(value, every[key])
    assert not torch.equal(model.decoder.levels[0].up.weight, every["decoder.levels.0.up.weight"])
    other = SemanticGenesis3D.from_pretrained(folder, part="encoder", in_chans=2, head="segmentation", num_classes=2)
    assert other.load_report.adapted == ["encoder.levels.0.0.conv.weight"]
    assert all(not key.startswith("encoder.") for key in other.load_report.reset)
    with pytest.raises(InvalidInputError, match="part='decoder': expected 'encoder'"):
        SemanticGenesis3D.from_pretrained(folder, part="decoder")


def test_loading_without_changes_draws_no_random_numbers_before_the_network_does(folder):
    torch.manual_seed(11)
    model = SemanticGenesis3D.from_pretrained(folder, head="segmentation", num_classes=3)
    torch.manual_seed(11)
    fresh = SemanticGenesis3D(width=2, num_classes=3, norm="batch", head="segmentation")
    assert torch.equal(model.segmentation.weight, fresh.segmentation.weight)


def test_loading_without_changes_leaves_the_generator_as_it_was(folder):
    before = torch.get_rng_state()
    SemanticGenesis3D.from_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), before)


NAMES = ("background", "liver", "tumour")


def test_names_of_classes_travel_with_the_weights(tmp_path):
    build(head="segmentation", num_classes=3, class_names=NAMES).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["class_names"] == list(NAMES)
    assert sg_hub.from_pretrained(tmp_path).class_names == NAMES
    assert sg_hub.from_pretrained(tmp_path, num_classes=3, in_chans=2).class_names == NAMES
    assert sg_hub.from_pretrained(tmp_path, num_classes=2).class_names == ()
    of_numpy = sg_hub.from_pretrained(tmp_path, num_classes=np.int64(2))
    of_numpy.save_pretrained(tmp_path / "numpy")
    assert sg_hub.from_pretrained(tmp_path / "numpy").num_classes == 2
    assert sg_hub.from_pretrained(tmp_path, head="classification", num_classes=3).class_names == ()
    renamed = sg_hub.from_pretrained(tmp_path, class_names=["a", "b", "c"])
    assert renamed.class_names == ("a", "b", "c")
    assert renamed.load_report.reset == []
    new = sg_hub.from_pretrained(tmp_path, head="classification", class_names=["benign", "malignant"])
    assert (new.num_classes, new.class_names) == (2, ("benign", "malignant"))
    with pytest.raises(
        InvalidInputError, match="2 names for num_classes=3; expected one for each class, the background"
    ):
        sg_hub.from_pretrained(tmp_path, class_names=["a", "b"])
    with pytest.raises(InvalidInputError, match="has no classes"):
        sg_hub.from_pretrained(tmp_path, head="restoration", class_names=["a", "b"])


def test_findings_travel_with_the_weights(tmp_path):
    build(head="classification", num_classes=3, multilabel=True).save_pretrained(tmp_path)
    assert sg_hub.from_pretrained(tmp_path).multilabel is True
    assert sg_hub.from_pretrained(tmp_path, multilabel=False).multilabel is False
    assert sg_hub.from_pretrained(tmp_path, num_classes=2).multilabel is False
    assert sg_hub.from_pretrained(tmp_path, head="segmentation", num_classes=3).multilabel is False


@pytest.mark.parametrize("head", ["pretext", "restoration", "segmentation", "classification"])
def test_features_of_weights_with_any_head_and_back(tmp_path, head):
    build(head=head).save_pretrained(tmp_path)
    model = sg_hub.from_pretrained(tmp_path, head="features")
    assert (model.num_classes, model.load_report.reset) == (0, [])
    with torch.inference_mode():
        same(model(cube()), build(head=head).encoder(cube()))
    model.save_pretrained(tmp_path / "features")
    with pytest.raises(InvalidInputError, match="needs num_classes"):
        sg_hub.from_pretrained(tmp_path / "features", head="pretext")
    assert sg_hub.from_pretrained(tmp_path / "features", num_classes=2).head_name == "segmentation"
    assert len(sg_hub.from_pretrained(tmp_path / "features")(cube())) == 4


# -- nothing in silence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("encoder.levels.1.0.conv.weight"), "encoder.levels.1.0.conv.weight is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "extra is unexpected"),
        (lambda s: s.update({"classifier.fc.bias": torch.zeros(7)}), "has shape (7,), expected (5,)"),
        (lambda s: s.update({f"module.{k}": s.pop(k) for k in list(s)}), "is missing"),
        (lambda s: s["classifier.fc.bias"].fill_(torch.nan), "classifier.fc.bias holds values that are no finite"),
        (
            lambda s: s.update({"classifier.fc.bias": torch.full((5,), 1e300, dtype=torch.float64)}),
            "classifier.fc.bias holds values that are no finite numbers",
        ),
        (
            lambda s: s["encoder.levels.0.0.norm.running_var"].neg_(),
            "encoder.levels.0.0.norm.running_var holds negative values",
        ),
    ],
)
def test_a_mismatch_that_nobody_asked_for_is_an_error(folder, change, words):
    change_state(folder, change)
    with pytest.raises(InvalidInputError) as error:
        SemanticGenesis3D.from_pretrained(folder)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("num_class", "has no such option; did you mean num_classes?"),
        ("in_channels", "has no such option; did you mean in_chans?"),
        ("width", "has no such option, for the config of the weights says it: leave it out"),
        ("strict", "has no such option"),
    ],
)
def test_an_option_that_is_none_is_named_with_the_nearest(folder, option, words):
    with pytest.raises(InvalidInputError) as error:
        SemanticGenesis3D.from_pretrained(folder, **{option: 3})
    assert str(error.value) == f"{option}=3: from_pretrained of a SemanticGenesis3D {words}"


def test_a_missing_decoder_is_an_error_whatever_head_is_asked_for(folder):
    change_state(folder, lambda s: [s.pop(key) for key in list(s) if key.startswith("decoder.")])
    with pytest.raises(InvalidInputError, match=r"decoder\.levels"):
        SemanticGenesis3D.from_pretrained(folder, head="segmentation", num_classes=2)
    with pytest.raises(InvalidInputError, match=r"decoder\.levels"):
        SemanticGenesis3D.from_pretrained(folder)


def test_options_that_save_pretrained_has_not_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="hlaf"):
        build().save_pretrained(tmp_path / "model", hlaf=True)
    assert not (tmp_path / "model").exists()


def test_truncated_and_foreign_weights_are_refused(folder):
    data = (folder / "model.safetensors").read_bytes()
    for broken in (data[: len(data) // 2], b"", b"PK\x03\x04 a pickle"):
        (folder / "model.safetensors").write_bytes(broken)
        with pytest.raises(ReadError, match="damaged"):
            SemanticGenesis3D.from_pretrained(folder)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"config_version": 3}, "upgrade"),
        ({"novelty": 1}, "novelty"),
        ({"architecture": "SemanticGenesis4D"}, "SemanticGenesis4D"),
        ({"preprocessing": {"novelty": 1}}, "novelty"),
    ],
)
def test_a_config_of_a_newer_version_is_refused(folder, values, words):
    change_config(folder, **values)
    with pytest.raises(sg_hub.SgHubError, match=words):
        SemanticGenesis3D.from_pretrained(folder)
    with pytest.raises(sg_hub.SgHubError, match=words):
        sg_hub.from_pretrained(folder)


@pytest.mark.parametrize(("old", "new"), [("batch", "batch_stats"), ("running", "batch"), ("instance", "instance")])
@pytest.mark.parametrize("version", [{"config_version": 1}, {}])
def test_a_config_of_version_1_means_what_it_meant(tmp_path, old, new, version):
    model = build(norm=new)
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"norm": old}
    del config["config_version"]
    path.write_text(json.dumps(config | version), encoding="utf-8")
    loaded = sg_hub.from_pretrained(tmp_path)
    assert loaded.norm == new
    with torch.inference_mode():
        torch.testing.assert_close(loaded(cube()).pattern_logits, model(cube()).pattern_logits, rtol=0, atol=0)
    loaded.save_pretrained(tmp_path)
    assert json.loads(path.read_text(encoding="utf-8"))["norm"] == new


def test_a_damaged_config_and_a_folder_without_a_model_are_refused(folder, tmp_path):
    (folder / "config.json").write_text('{"architecture": ', encoding="utf-8")
    with pytest.raises(ReadError, match=r"config\.json"):
        SemanticGenesis3D.from_pretrained(folder)
    with pytest.raises(ReadError, match=r"has no config\.json"):
        SemanticGenesis3D.from_pretrained(tmp_path)


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def registered(folder, monkeypatch):
    """`folder` as the shipped weights of the registered model `model`."""
    import hashlib

    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    entry = registry_module.PretrainedWeights("model", "SemanticGenesis3D", "", "abc", sha256, "apache-2.0")
    monkeypatch.setattr(registry_module, "_registry", lambda: {"model": entry})
    monkeypatch.setattr(registry_module, "_CARD_FOLDERS", (folder.parent,))
    return folder


def test_a_registered_name_loads_what_was_pinned(registered):
    model = sg_hub.from_pretrained("model")
    assert model.load_report.revision == "abc"
    assert model.load_report.source == "model (shipped)"


def test_of_a_name_and_a_folder_of_that_name_a_path_is_of_the_folder(registered, tmp_path, monkeypatch, caplog):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    build(num_classes=3).save_pretrained(Path("model"))
    assert [sg_hub.from_pretrained(where).num_classes for where in (Path(".") / "model", "./model")] == [3, 3]
    assert not caplog.records
    assert sg_hub.from_pretrained("model").num_classes == 5
    assert "for the folder here give ./model" in caplog.text


def test_a_wrong_sha256_is_refused(registered):
    change_state(registered, lambda s: s["classifier.fc.bias"].add_(1))
    with pytest.raises(ReadError, match="sha256"):
        sg_hub.from_pretrained("model")
    assert (registered / "model.safetensors").is_file()


def test_another_revision_of_weights_that_are_on_no_hub_is_refused(registered):
    with pytest.raises(ReadError, match="revision"):
        sg_hub.from_pretrained("model", revision="main")


def test_an_unknown_name_suggests_the_nearest(registered):
    with pytest.raises(InvalidInputError, match="did you mean model"):
        sg_hub.from_pretrained("modle")
    with pytest.raises(InvalidInputError, match="no such folder"):
        sg_hub.from_pretrained("./not/here")


def test_no_network_is_said(tmp_path):
    with pytest.raises(ReadError, match="cannot be reached"):
        sg_hub.from_pretrained("owner/name", cache_dir=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_options_of_the_download_are_all_passed_on(monkeypatch, folder):
    given = []

    def download(repo_id, file, **options):
        given.append((repo_id, file, options))
        return str(folder / file)

    monkeypatch.setattr(download_module, "hf_hub_download", download)
    options = {"revision": "v1", "token": "t", "cache_dir": "c", "local_files_only": True, "force_download": False}
    sg_hub.from_pretrained("owner/name", **options)
    assert {file for _, file, _ in given} == {"config.json", "model.safetensors"}
    for repo_id, _, passed in given:
        assert repo_id == "owner/name"
        assert options.items() <= passed.items()


def test_every_registered_model_that_ships_loads():
    shipped = [name for name in sg_hub.list_models() if sg_hub.get_weights(name).folder]
    assert shipped, "no weights ship with this installation"
    for name in shipped:
        model = sg_hub.from_pretrained(name)
        assert model.load_report.sha256 == sg_hub.get_weights(name).sha256
        assert os.path.getsize(sg_hub.get_weights(name).folder / "README.md") > 1000
