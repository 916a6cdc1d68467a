"""Uploading model folders, to the server on loopback."""

import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from sg_hub.hub.model_folder import sha256_of
from tests.support.folders import ROOT
from tests.support.hub_user import ALICE, counting

CARDS = ROOT / "model_cards"
NAME = "semantic-genesis-3d-tiny"
PICTURES = {"restorations.png", "patterns.png", "transforms.png"}
CARD = ModelCard.load(CARDS / NAME / "README.md")


def command(*arguments, token=ALICE):
    """Exit code, standard output and standard error of `sg-hub`, as a user with this token."""
    from sg_hub.cli import main

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setenv("HF_TOKEN", token)
        code = main([os.fspath(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def folder(tmp_path):
    """A copy of a model folder, in a folder of cards with a registry of its own."""
    entry = json.loads((ROOT / "sg_hub" / "hub" / "registry.json").read_text(encoding="utf-8"))[NAME]
    registry = {"another": {"kept": True}, NAME: entry | {"repo_id": None}}
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "registry.json").write_text(json.dumps(registry), encoding="utf-8")
    return Path(shutil.copytree(CARDS / NAME, tmp_path / "cards" / NAME))


def registry_of(folder):
    return json.loads((folder.parent / "registry.json").read_text(encoding="utf-8"))


def test_a_folder_is_uploaded_once_and_registered(hub, user, folder, repo_id):
    code, out, err = user(command, "upload", folder, "--to", repo_id)
    assert code == 0, err
    repository = hub.repositories[repo_id]
    commit = repository.branches["main"]
    assert commit in out
    assert "uploading 6 files" in err
    uploaded = {name: data for name, data in repository.commits[commit].items() if name != ".gitattributes"}
    assert set(uploaded) == {path.name for path in folder.iterdir()} - PICTURES
    sent = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in uploaded}
    card = uploaded.pop("README.md").decode()
    assert uploaded == {name: data for name, data in sent.items() if name != "README.md"}
    assert ModelCard(card).data.to_dict() == CARD.data.to_dict()
    assert "](restorations.png)" in CARD.text  # which a hub without it would show as a broken image
    assert "](restorations.png)" not in card
    registry = registry_of(folder)
    assert (registry[NAME]["repo_id"], registry[NAME]["commit"]) == (repo_id, commit)
    assert registry["another"] == {"kept": True}

    with counting(hub, f"PUT|/commit/|/storage/|{repo_id}/(tag|branch)") as sent:
        code, out, err = user(command, "upload", folder, "--to", repo_id, "--quiet")
    assert (code, sent) == (0, [])
    assert "nothing has changed" in out
    assert commit in out
    assert err == ""
    assert len(repository.commits) == 2
    assert registry_of(folder) == registry


def test_pictures_are_uploaded_when_they_are_asked_for(hub, user, folder, repo_id):
    code, _, err = user(command, "upload", folder, "--to", repo_id, "--pictures")
    assert code == 0, err
    repository = hub.repositories[repo_id]
    uploaded = dict(repository.commits[repository.branches["main"]])
    uploaded.pop(".gitattributes")
    assert uploaded == {path.name: path.read_bytes() for path in folder.iterdir()}
    for picture in PICTURES:
        assert f"{picture} ({(folder / picture).stat().st_size / 1e3:.1f} kB): pictures of patients" in err


def test_a_dry_run_says_what_would_be_sent_and_asks_nobody(hub, user, folder, repo_id):
    (folder / "scan.nii.gz").write_bytes(b"a patient")
    registry = registry_of(folder)
    with counting(hub, "") as sent:
        code, out, err = user(command, "upload", folder, "--to", repo_id, "--dry-run")
    assert (code, sent, err) == (0, [], "")
    assert "would upload 6 files" in out
    assert "model.safetensors (4.2 MB)" in out
    assert "not sent: restorations.png (a picture)" in out
    assert "not sent: scan.nii.gz (no part of a model)" in out
    assert registry_of(folder) == registry


def test_what_has_changed_is_uploaded_alone(hub, user, folder, repo_id):
    user(command, "upload", folder, "--to", repo_id)
    (folder / "README.md").write_text(str(CARD) + "\nMore words.\n", encoding="utf-8")
    (folder / ".hidden").write_text("", encoding="utf-8")
    with counting(hub, "PUT") as sent:
        code, _, err = user(command, "upload", folder, "--to", repo_id)
    assert (code, sent) == (0, []), err
    repository = hub.repositories[repo_id]
    newest = repository.commits[repository.branches["main"]]
    assert newest["README.md"].endswith(b"More words.\n")
    assert ".hidden" not in newest
    assert len(repository.commits) == 3
    assert registry_of(folder)[NAME]["commit"] == repository.branches["main"]


def test_other_weights_than_the_registered_leave_the_registry(hub, user, folder, repo_id):
    registry = registry_of(folder)
    registry[NAME]["sha256"] = "0" * 64
    (folder.parent / "registry.json").write_text(json.dumps(registry), encoding="utf-8")
    code, out, _ = user(command, "upload", folder, "--to", repo_id)
    assert code == 0
    assert "other weights" in out
    assert registry_of(folder) == registry


def test_a_card_without_weights_is_uploaded(hub, user, folder, repo_id):
    registry = registry_of(folder)
    for path in folder.iterdir():
        if path.name != "README.md":
            path.unlink()
    code, _, err = user(command, "upload", folder, "--to", repo_id, "--private")
    assert code == 0, err
    repository = hub.repositories[repo_id]
    assert repository.private
    assert set(repository.commits[repository.branches["main"]]) == {".gitattributes", "README.md"}
    assert registry_of(folder) == registry


def card(**changes):
    from yaml import safe_dump

    metadata = CARD.data.to_dict() | changes
    return f"---\n{safe_dump({key: value for key, value in metadata.items() if value is not None})}---\n\n# A model\n"


RESULT = {"task": {"type": "image-to-image"}, "dataset": {"type": "openkbp", "name": "OpenKBP"}}


def index(*metrics):
    return [{"name": "model", "results": [RESULT | {"metrics": list(metrics)}]}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("---\nlicense: [\n---\n", "cannot be read"),
        ("---\n- apache-2.0\n---\n", "cannot be read"),
        ("# A model without metadata\n", "license is None"),
        (card(license=None), "license is None"),
        (card(license=2), "license is 2"),
        (card(license="other"), "license_name"),
        (card(tags="ct"), "tags is 'ct'"),
        (card(tags="x" * 10_000), "xxx..., expected a list of texts)"),
        (card(tags=["3d", 3]), "expected a list of texts"),
        (card(**{"model-index": "none"}), "model_index"),
        (card(**{"model-index": [{"name": "model"}]}), "results"),
        (card(**{"model-index": [{"name": "model", "results": [{"metrics": []}]}]}), "task"),
        (card(**{"model-index": index()}), "holds no results"),
        (card(**{"model-index": index({"type": "mse"})}), "value"),
        (card(**{"model-index": index({"type": "mse", "value": float("nan")})}), "finite"),
    ],
)
def test_an_invalid_card_is_refused_before_anything_is_sent(hub, user, folder, repo_id, text, words):
    (folder / "README.md").write_text(text, encoding="utf-8")
    with counting(hub, "") as sent:
        code, out, err = user(command, "upload", folder, "--to", repo_id)
    assert (code, out, sent) == (2, "", [])
    assert words in err
    assert "README.md" in err


def test_a_licence_of_ones_own_has_a_name(hub, user, folder, repo_id):
    text = card(license="other", license_name="academic", license_link="https://example.org/licence")
    (folder / "README.md").write_text(text, encoding="utf-8")
    code, _, err = user(command, "upload", folder, "--to", repo_id)
    assert code == 0, err


def test_a_card_that_the_hub_alone_finds_invalid_is_all_that_it_sees(hub, user, folder, repo_id):
    hub.refuse_cards = '"license" must be one of a list'
    with counting(hub, "") as sent:
        code, _, err = user(command, "upload", folder, "--to", repo_id)
    assert (code, sent) == (2, ["POST /api/validate-yaml"])
    assert "must be one of a list" in err


def test_damaged_folders_and_registries_are_refused_before_anything_is_sent(hub, user, folder, repo_id):
    with counting(hub, "") as sent:
        (folder.parent / "registry.json").write_text("{", encoding="utf-8")
        assert "damaged" in user(command, "upload", folder, "--to", repo_id)[2]
        (folder / "model.safetensors").write_bytes(b"half")
        assert "model.safetensors" in user(command, "upload", folder, "--to", repo_id)[2]
        (folder / "README.md").unlink()
        assert "has no README.md" in user(command, "upload", folder, "--to", repo_id)[2]
        assert "has no README.md" in user(command, "upload", folder / "not there", "--to", repo_id)[2]
    assert sent == []


def test_the_wrong_user_and_an_impossible_id_are_told_so(hub, user, offline_user, folder, repo_id):
    registry = registry_of(folder)
    for token, words in (("", "valid token"), ("hf_bob", "rights")):
        code, _, err = user(command, "upload", folder, "--to", repo_id, token=token)
        assert code == 2
        assert words in err
    code, _, err = user(command, "upload", folder, "--to", "not/an/id")
    assert code == 2
    assert "owner/name" in err
    code, _, err = offline_user(command, "upload", folder, "--to", repo_id)
    assert code == 2
    assert "HF_HUB_OFFLINE" in err
    assert repo_id not in hub.repositories
    assert registry_of(folder) == registry


@pytest.mark.parametrize("option", ["--private", "--pictures"])
@pytest.mark.parametrize("name", ["publish", "regenerate"])
def test_what_is_for_an_upload_needs_somewhere_to_go(name, option):
    code, _, error = command(name, "demo", option)
    assert code == 2
    assert f"{option} is for the upload: give --to REPO_ID" in error


@pytest.mark.parametrize(
    ("given", "said"),
    [(("--to", "not/an/id"), "expected OWNER/NAME"), (("--to", "me/mine", "publish.licence="), "publish.licence=ID")],
)
def test_what_no_hub_takes_is_said_before_the_training(given, said, tmp_path):
    code, out, error = command("regenerate", "demo", *given, f"run={tmp_path / 'run'}", "--cards", tmp_path / "cards")
    assert (code, said in error, "==" in out) == (2, True, False)


def test_an_upload_that_breaks_can_be_repeated(hub, user, folder, repo_id):
    hub.lfs.pop(sha256_of(folder / "model.safetensors"), None)
    hub.fail("refused", sha256_of(folder / "model.safetensors"), method="PUT")
    code, _, err = user(command, "upload", folder, "--to", repo_id)
    assert code == 2
    assert "nothing was committed" in err
    assert registry_of(folder)[NAME]["repo_id"] is None
    assert user(command, "upload", folder, "--to", repo_id)[0] == 0
    assert registry_of(folder)[NAME]["repo_id"] == repo_id
