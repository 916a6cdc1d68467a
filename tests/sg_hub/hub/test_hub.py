"""The hub, by the real huggingface_hub client against a server on loopback, in processes with a user's environment."""

import json
import os
import subprocess
import sys

import pytest

from sg_hub import InvalidInputError, ReadError
from tests.sg_hub.hub.in_a_process import (
    build,
    check_cache,
    hashes,
    load,
    push,
    push_2d,
    save_and_push,
    snapshot,
    tag,
    whoami,
)
from tests.support.hub_server import sha256
from tests.support.hub_user import ALICE, BOB, counting

# -- up and down -------------------------------------------------------------------------------------------------------


def test_pushed_and_loaded_is_the_same_model(hub, user, repo_id, tmp_path):
    commit = user(push, 0, repo_id, token=ALICE)
    repository = hub.repositories[repo_id]
    assert repository.branches["main"] == commit
    assert set(repository.commits[commit]) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    build(0).save_pretrained(tmp_path / "local")
    pushed = repository.commits[commit]["model.safetensors"]
    assert pushed == (tmp_path / "local" / "model.safetensors").read_bytes()
    loaded = user(load, repo_id, cache_dir=tmp_path / "cache")
    assert loaded == {"revision": commit, "sha256": sha256(pushed), "source": repo_id, "classes": 5}
    assert len(check_cache(tmp_path / "cache")) == 2
    assert len(repository.commits) == 2, "config, weights and card belong into one commit"


def test_a_second_push_of_the_same_makes_no_commit_and_keeps_the_card(hub, user, repo_id):
    first = user(push, 0, repo_id, token=ALICE)
    repository = hub.repositories[repo_id]
    assert user(push, 0, repo_id, token=ALICE) == first
    own = repository.commit(repository.commits[first] | {"README.md": b"my own words"})
    second = user(push, 1, repo_id, token=ALICE)
    assert second != own
    assert repository.commits[second]["README.md"] == b"my own words"
    third = user(push, 1, repo_id, token=ALICE, model_card_kwargs={})
    assert repository.commits[third]["README.md"] == repository.commits[first]["README.md"]


def test_revisions_are_branches_tags_and_commits(hub, user, repo_id, tmp_path):
    first = user(push, 0, repo_id, token=ALICE)
    user(tag, repo_id, "v1", ALICE)
    branched = user(push, 1, repo_id, token=ALICE, branch="try/it")
    assert hub.repositories[repo_id].branches == {"main": first, "try/it": branched}
    expected = {None: first, "main": first, "v1": first, first: first, "try/it": branched, branched: branched}
    for revision, commit in expected.items():
        assert user(load, repo_id, revision=revision, cache_dir=tmp_path)["revision"] == commit


def test_a_2d_model_goes_the_same_way(hub, user, repo_id, tmp_path):
    commit = user(push_2d, repo_id, token=ALICE, half=True)
    loaded = user(load, repo_id, cache_dir=tmp_path)
    assert (loaded["revision"], loaded["classes"]) == (commit, 3)


def test_half_precision_goes_up_too(hub, user, repo_id, tmp_path):
    full = user(push, 0, repo_id, token=ALICE)
    half = user(push, 0, repo_id, token=ALICE, half=True)
    user(save_and_push, 0, tmp_path / "model", repo_id, token=ALICE, half=True, branch="saved")
    repository = hub.repositories[repo_id]
    sizes = [len(repository.commits[commit]["model.safetensors"]) for commit in (full, half)]
    assert sizes[1] < 0.6 * sizes[0]
    saved = repository.commits[repository.branches["saved"]]["model.safetensors"]
    assert saved == repository.commits[half]["model.safetensors"]
    assert saved == (tmp_path / "model" / "model.safetensors").read_bytes()
    assert user(load, repo_id, cache_dir=tmp_path / "cache")["revision"] == half


def test_a_snapshot_is_a_folder_to_load(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[0])
    folder = user(snapshot, repo_id, cache_dir=tmp_path / "cache")
    assert user(load, folder)["sha256"] == hashes(files[0])
    folder = user(snapshot, repo_id, local_dir=tmp_path / "folder", cache_dir=tmp_path / "cache")
    assert user(load, folder)["sha256"] == hashes(files[0])


def test_a_snapshot_that_arrived_damaged_is_refused(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[0])
    hub.fail("corrupt", "model.safetensors")
    folder = user(snapshot, repo_id, cache_dir=tmp_path)
    with pytest.raises(ReadError, match="force_download"):
        user(load, folder)
    assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == hashes(files[0])
    assert user(load, folder)["sha256"] == hashes(files[0])


def test_config_and_weights_are_of_one_commit_when_the_branch_moves(hub, user, files, repo_id, tmp_path):
    repository = hub.add(repo_id, files[0])
    first = repository.branches["main"]
    hub.after["config.json"] = lambda: repository.commit(files[1])
    loaded = user(load, repo_id, cache_dir=tmp_path)
    assert repository.branches["main"] != first
    assert loaded == {"revision": first, "sha256": hashes(files[0]), "source": repo_id, "classes": 5}
    assert user(load, repo_id, cache_dir=tmp_path)["classes"] == 6


def test_a_warm_cache_sends_for_no_file(hub, user, files, repo_id, tmp_path):
    repository = hub.add(repo_id, files[0])
    user(load, repo_id, cache_dir=tmp_path)
    with counting(hub, f"GET .*({repo_id}|storage)") as asked:
        user(load, repo_id, cache_dir=tmp_path)
    assert asked == []
    with counting(hub, repo_id) as asked:
        user(load, repo_id, revision=repository.branches["main"], cache_dir=tmp_path)
    assert asked == []
    with counting(hub, "GET .*storage") as asked:
        user(load, repo_id, cache_dir=tmp_path, force_download=True)
    assert len(asked) == 1


def test_a_token_says_who_one_is(user):
    assert [user(whoami, token) for token in (ALICE, BOB)] == ["alice", "bob"]


# -- who may -----------------------------------------------------------------------------------------------------------


def test_a_private_repository_opens_to_its_owners_token(hub, user, repo_id, tmp_path):
    commit = user(push, 0, repo_id, token=ALICE, private=True)
    assert hub.repositories[repo_id].private
    for token in (None, BOB):
        with pytest.raises(ReadError, match=r"private.*token="):
            user(load, repo_id, token=token, cache_dir=tmp_path)
    with pytest.raises(ReadError, match="valid token"):
        user(load, repo_id, token="hf_wrong", cache_dir=tmp_path)
    assert check_cache(tmp_path) == []
    assert user(load, repo_id, token=ALICE, cache_dir=tmp_path / "a")["revision"] == commit
    assert user(load, repo_id, token_in_environment=ALICE, cache_dir=tmp_path / "b")["revision"] == commit


def test_private_is_never_taken_for_public(hub, user, files, repo_id):
    repository = hub.add(repo_id, files[0])
    with pytest.raises(InvalidInputError, match="public"):
        user(push, 1, repo_id, token=ALICE, private=True)
    assert len(repository.commits) == 2


@pytest.mark.parametrize(("token", "words"), [(None, "valid token"), ("hf_wrong", "valid token"), (BOB, "rights")])
def test_uploading_needs_the_right_token(hub, user, repo_id, token, words):
    with pytest.raises(ReadError, match=words):
        user(push, 0, repo_id, token=token)
    assert repo_id not in hub.repositories
    hub.add(repo_id)
    with pytest.raises(ReadError, match=words):
        user(push, 0, repo_id, token=token)
    assert len(hub.repositories[repo_id].commits) == 1


def test_a_gated_repository_says_where_to_ask(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[0], gated=True)
    for token in (None, BOB):
        with pytest.raises(ReadError, match="restricted"):
            user(load, repo_id, token=token, cache_dir=tmp_path)
    assert user(load, repo_id, token=ALICE, cache_dir=tmp_path)["sha256"] == hashes(files[0])


# -- an upload that fails, and another hub -----------------------------------------------------------------------------


def test_a_failed_upload_commits_nothing_and_can_be_repeated(hub, user, repo_id, tmp_path):
    build(7).save_pretrained(tmp_path)
    hub.lfs.pop(sha256((tmp_path / "model.safetensors").read_bytes()), None)
    hub.fail("refused", sha256((tmp_path / "model.safetensors").read_bytes()), method="PUT")
    with pytest.raises(ReadError, match="nothing was committed"):
        user(push, 7, repo_id, token=ALICE)
    assert len(hub.repositories[repo_id].commits) == 1
    commit = user(push, 7, repo_id, token=ALICE)
    assert user(load, repo_id, cache_dir=tmp_path / "cache")["revision"] == commit


def test_the_endpoint_of_the_environment_is_used_by_a_plain_script(hub, files, repo_id, tmp_path):
    commit = hub.add(repo_id, files[0], private=True).branches["main"]
    code = f"""
import json, sg_hub
model = sg_hub.SemanticGenesis3D.from_pretrained({repo_id!r}, head="segmentation", num_classes=2, in_chans=2)
print(json.dumps([model.load_report.revision, model.load_report.adapted]))
"""
    environment = os.environ | hub.environment(tmp_path, token=ALICE)
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    revision, adapted = json.loads(run.stdout)
    assert revision == commit
    assert adapted == ["encoder.levels.0.0.conv.weight"]
    assert list((tmp_path / "hub").rglob("model.safetensors"))  # below HF_HOME, where users expect it
