"""A model in a folder: its two files belong together, whatever happens while they are written."""

import errno
import json
import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sg_hub import ImagePreprocessing, InvalidInputError, ReadError, SemanticGenesis3D, from_pretrained
from sg_hub.hub.model_folder import OLDER_WEIGHTS, sha256_of, undisturbed

STEPS = ("open", "os.rename", "os.remove", "os.link", "os.chmod", "shutil.rmtree")
"""Audit events of what changes a folder, or is about to."""


def build(seed):
    """Models that differ in both files."""
    torch.manual_seed(seed)
    return SemanticGenesis3D(width=1, num_classes=2 + seed).eval()


def config_of(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def change_config(folder, change):
    config = config_of(folder)
    change(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def which(folder):
    """The seed of the model that a folder gives, every tensor of it."""
    loaded = from_pretrained(folder)
    seed = loaded.num_classes - 2
    for key, value in build(seed).state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    return seed


def killed_at(step, folder, save):
    """Call `save` in a process of its own that dies before it takes a step in `folder`; whether it came that far."""
    child = os.fork()
    if child == 0:
        left = [step]

        def watch(event, arguments):
            if event in STEPS and str(folder) in os.fsdecode(arguments[0] if arguments else ""):
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1

        try:
            sys.addaudithook(watch)
            save()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def no_links(*_, **__):
    raise OSError(errno.EPERM, "no links here")


def without_hash(config):
    config.pop("weights_sha256")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("hashed", [True, False], ids=["hash", "no hash"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_any_step_there_is_the_older_model_or_the_new_one(tmp_path, monkeypatch, links, hashed):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    start, folder = tmp_path / "start", tmp_path / "model"
    build(0).save_pretrained(start)
    if not hashed:
        change_config(start, without_hash)
    found, step, new = [], 0, build(1)
    while True:
        shutil.copytree(start, folder)
        (folder / "notes.txt").write_text("mine", encoding="utf-8")
        killed = killed_at(step, folder, lambda: new.save_pretrained(folder))
        found.append(which(folder))
        if found[-1] == 0:  # and again, with what the killed process left
            killed_at(step, folder, lambda: new.save_pretrained(folder))
            assert which(folder) in (0, 1)
        new.save_pretrained(folder)
        assert which(folder) == 1
        expected = ["README.md", "config.json", "model.safetensors", "notes.txt"]
        assert sorted(path.name for path in folder.iterdir()) == expected
        shutil.rmtree(folder)
        if not killed:
            break
        step += 1
    assert step > 8
    assert found == sorted(found), "once the new model is there it stays"
    assert found[-1] == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_any_step_of_the_first_save_there_is_no_model_or_the_whole_one(tmp_path):
    step, folder = 0, tmp_path / "model"
    while killed_at(step, folder, lambda: build(1).save_pretrained(folder)):
        try:
            assert which(folder) == 1
        except (ReadError, InvalidInputError) as error:
            assert str(folder) in str(error)  # noqa: PT017
        shutil.rmtree(folder, ignore_errors=True)
        step += 1
    assert step > 5
    assert which(folder) == 1


@pytest.mark.parametrize(("call", "nth"), [("fsync", 0), ("replace", 0), ("fsync", 2), ("replace", 1)], ids=str)
def test_a_full_disk_is_an_error_and_the_older_model_stays(tmp_path, monkeypatch, call, nth):
    folder = tmp_path / "model"
    build(0).save_pretrained(folder)
    real, calls = getattr(os, call), []

    def full(*values, **options):
        calls.append(values)
        if len(calls) == nth + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*values, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(ReadError, match="No space left") as error:
            build(1).save_pretrained(folder)
    assert str(folder) in str(error.value)
    assert which(folder) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    build(1).save_pretrained(folder)
    assert which(folder) == 1


def test_a_full_disk_while_the_weights_are_written(tmp_path, monkeypatch):
    build(0).save_pretrained(tmp_path)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ReadError, match=r"cannot be written.*No space left"):
            build(1).save_pretrained(tmp_path)
    assert which(tmp_path) == 0


def test_weights_and_configs_that_do_not_belong_together_are_refused(tmp_path):
    build(0).save_pretrained(tmp_path / "a")
    torch.manual_seed(7)
    SemanticGenesis3D(width=1, num_classes=2).save_pretrained(tmp_path / "b")  # of the same shapes
    assert config_of(tmp_path / "a")["weights_sha256"] == sha256_of(tmp_path / "a" / "model.safetensors")
    shutil.copy(tmp_path / "b" / "model.safetensors", tmp_path / "a")
    for load in (from_pretrained, SemanticGenesis3D.from_pretrained):
        with pytest.raises(ReadError, match=r"model\.safetensors is not the file that its config\.json.*sha256"):
            load(tmp_path / "a")
    change_config(tmp_path / "a", without_hash)  # as published before there was a hash
    assert from_pretrained(tmp_path / "a").num_classes == 2


@pytest.mark.parametrize("value", [7, "abc", ["0" * 64], "0" * 63 + "G", {}])
def test_a_hash_that_is_none_is_named(tmp_path, value):
    build(0).save_pretrained(tmp_path)
    change_config(tmp_path, lambda config: config.update(weights_sha256=value))
    with pytest.raises(ReadError, match=r"config\.json: its weights_sha256 is"):
        from_pretrained(tmp_path)


def test_older_weights_that_belong_to_no_config_are_not_used(tmp_path):
    build(0).save_pretrained(tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / OLDER_WEIGHTS)
    assert which(tmp_path) == 0
    build(1).save_pretrained(tmp_path)
    assert not (tmp_path / OLDER_WEIGHTS).exists()
    assert which(tmp_path) == 1


def test_two_who_save_into_one_folder_leave_one_whole_model(tmp_path):
    models = [build(seed) for seed in (0, 1)]

    def save(model):
        for _ in range(5):
            model.save_pretrained(tmp_path)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, models))
    assert which(tmp_path) in (0, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    build(0).save_pretrained("~/m")
    assert not (tmp_path / "~").exists()
    assert which(tmp_path / "home" / "m") == 0
    assert from_pretrained("~/m").num_classes == 2


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("file", "is a file"),
        ("file/model", "cannot be written"),
        ("a\0b", "characters"),
        (None, "NoneType"),
        (3, "int"),
    ],
)
def test_what_is_no_folder(tmp_path, path, words):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises((InvalidInputError, ReadError), match=words):
        build(0).save_pretrained(tmp_path / path if isinstance(path, str) else path)
    with pytest.raises((InvalidInputError, ReadError)):
        from_pretrained(str(tmp_path / path) if isinstance(path, str) else path)


def test_what_is_written_is_for_everybody_to_read(tmp_path):
    build(0).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert set(load_file(tmp_path / "model.safetensors")) == set(build(0).state_dict())


def test_messages_hold_a_few_names_of_a_folder_and_not_all(tmp_path):
    for number in range(1000):
        (tmp_path / f"patient_{number:04}.txt").touch()
    with pytest.raises(ReadError, match=r"has no config\.json") as error:
        from_pretrained(tmp_path)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (float("inf"), True), (1e6, True)])
def test_weights_that_could_not_be_loaded_again_replace_none(tmp_path, value, half):
    model = SemanticGenesis3D(width=2)
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = value
    with pytest.raises(InvalidInputError, match="holds NaN or infinite values, as after a training that diverged"):
        model.save_pretrained(tmp_path, half=half)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def _wider(model):
    model.classifier.fc = torch.nn.Linear(model.classifier.fc.in_features, 7)


def _more(model):
    model.auxiliary = torch.nn.Linear(2, 2)


def _less(model):
    model.classifier = torch.nn.Identity()


def _of_images(model):
    model.preprocessing = ImagePreprocessing()


def _no_settings(model):
    model.preprocessing = {"modality": "MR"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_wider, r"classifier.fc.weight has shape \(7, .* expected \(2, .*from_pretrained could not load it again"),
        (_more, "auxiliary.weight is unexpected.*nothing was saved"),
        (_less, "classifier.fc.weight is missing.*nothing was saved"),
        (_of_images, "preprocessing is a ImagePreprocessing: scans need Preprocessing"),
        (_no_settings, "preprocessing is a dict: scans need Preprocessing"),
    ],
)
def test_a_model_that_was_changed_beside_its_config_replaces_none(tmp_path, change, words):
    model = build(0)
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    change(model)
    generator = torch.get_rng_state()
    with pytest.raises(InvalidInputError, match=words):
        model.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_folder_that_is_replaced_while_it_is_read_is_read_again(tmp_path):
    build(0).save_pretrained(tmp_path)
    tries = []

    def load():
        tries.append(1)
        if len(tries) == 1:
            build(1).save_pretrained(tmp_path)
            raise ReadError("halves of two models")
        return which(tmp_path)

    assert (undisturbed(tmp_path, load), len(tries)) == (1, 2)


def test_a_damaged_folder_that_nobody_changes_is_refused_at_once(tmp_path):
    build(0).save_pretrained(tmp_path)
    tries = []

    def load():
        tries.append(1)
        raise ReadError("damaged")

    with pytest.raises(ReadError, match="damaged"):
        undisturbed(tmp_path, load)
    assert len(tries) == 1
