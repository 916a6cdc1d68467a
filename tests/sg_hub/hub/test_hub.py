"""The hub, by the real huggingface_hub client against a server on loopback, in processes with a user's environment."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sg_hub import InvalidInputError, ReadError, SemanticGenesis3D
from tests.hub_server import etag, sha256
from tests.hub_user import ALICE, BOB, counting

# -- what the user's process does --------------------------------------------------------------------------------------


def build(seed):
    torch.manual_seed(seed)
    return SemanticGenesis3D(width=2, num_classes=5, norm="batch")


def load(name, token_in_environment="", **options):
    import sg_hub

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", token_in_environment)
        model = sg_hub.from_pretrained(name, **options)
    report = model.load_report
    return {"revision": report.revision, "sha256": report.sha256, "source": report.source, "classes": model.num_classes}


def load_registered(entry, **options):
    """Load the model `pinned`, with the registry holding nothing but `entry` of it."""
    from sg_hub.hub import registry

    weights = registry.PretrainedWeights(name="pinned", **entry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_registry", lambda: {"pinned": weights})
        return load("pinned", **options)


def push(seed, repo_id, **options):
    return build(seed).push_to_hub(repo_id, **options).oid


def push_2d(repo_id, **options):
    from sg_hub import SemanticGenesis2D

    return SemanticGenesis2D(encoder="lcnet_050", num_classes=3).push_to_hub(repo_id, **options).oid


def save_and_push(seed, folder, repo_id, **options):
    build(seed).save_pretrained(folder, repo_id=repo_id, push_to_hub=True, **options)


def snapshot(repo_id, **options):
    from huggingface_hub import snapshot_download

    return snapshot_download(repo_id, **options)


def tag(repo_id, name, token):
    from huggingface_hub import HfApi

    HfApi(token=token).create_tag(repo_id, tag=name)


def whoami(token):
    from huggingface_hub import HfApi

    return HfApi(token=token).whoami()["name"]


# -- the hub -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of two models, which differ in their config as well."""
    found = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("model")
        torch.manual_seed(seed)
        SemanticGenesis3D(width=2, num_classes=5 + seed, norm="batch").save_pretrained(folder)
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    return found


def hashes(files):
    return sha256(files["model.safetensors"])


def check_cache(cache):
    """Whatever a load would find in the cache is whole: its name is its hash."""
    pointers = [path for path in Path(cache).rglob("*") if path.is_symlink()]
    for path in pointers:
        assert Path(os.readlink(path)).name == etag(path.name, path.read_bytes()), path
    for blob in Path(cache).rglob("blobs/*"):
        if not blob.name.endswith(".incomplete"):
            assert blob.name in (sha256(blob.read_bytes()), etag("", blob.read_bytes()))
    return pointers


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


# -- what is not there -------------------------------------------------------------------------------------------------


def test_what_is_missing_is_named(hub, user, files, repo_id, tmp_path):
    with pytest.raises(ReadError, match="there is none"):
        user(load, repo_id, cache_dir=tmp_path)
    repository = hub.add(repo_id, {"README.md": b"no model"})
    with pytest.raises(ReadError, match=r"lacks config\.json"):
        user(load, repo_id, cache_dir=tmp_path)
    with pytest.raises(ReadError, match=r"'v9'.*no such branch, tag or commit"):
        user(load, repo_id, revision="v9", cache_dir=tmp_path)
    repository.commit({"config.json": files[0]["config.json"], "pytorch_model.bin": b"a pickle"})
    with pytest.raises(ReadError, match=r"lacks model\.safetensors"):  # a config alone is no model
        user(load, repo_id, cache_dir=tmp_path)
    repository.commit(files[0])
    assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == hashes(files[0])


def test_local_files_only_before_and_after_a_download(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[0])
    with counting(hub, repo_id) as asked, pytest.raises(ReadError, match="not in the local cache"):
        user(load, repo_id, cache_dir=tmp_path, local_files_only=True)
    assert asked == []
    online = user(load, repo_id, cache_dir=tmp_path)
    with counting(hub, repo_id) as asked:
        assert user(load, repo_id, cache_dir=tmp_path, local_files_only=True) == online
    assert asked == []
    with pytest.raises(InvalidInputError, match="exclude each other"):
        user(load, repo_id, cache_dir=tmp_path, local_files_only=True, force_download=True)


def test_offline_mode_with_a_cold_and_a_warm_cache(hub, user, offline_user, files, repo_id, tmp_path):
    commit = hub.add(repo_id, files[0]).branches["main"]
    for options in ({}, {"revision": commit}, {"force_download": True}):
        with pytest.raises(ReadError, match="cannot be reached"):
            offline_user(load, repo_id, cache_dir=tmp_path, **options)
    online = user(load, repo_id, cache_dir=tmp_path)
    with counting(hub, "") as asked:
        for revision in (None, "main", commit):
            assert offline_user(load, repo_id, revision=revision, cache_dir=tmp_path) == online
        with pytest.raises(ReadError, match="cannot be reached"):
            offline_user(push, 0, repo_id, token=ALICE)
    assert asked == []


def test_while_the_hub_is_down_the_cache_serves(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[0])
    online = user(load, repo_id, cache_dir=tmp_path)
    hub.fail("500", "config.json", method="HEAD")
    assert user(load, repo_id, cache_dir=tmp_path) == online


# -- registered weights that are on a hub ------------------------------------------------------------------------------


def registry_entry(hub, repo_id, files, **changes):
    about = {"architecture": "SemanticGenesis3D", "description": "", "licence": "apache-2.0", "repo_id": repo_id}
    return about | {"commit": hub.repositories[repo_id].branches["main"], "sha256": hashes(files)} | changes


def test_registered_weights_come_from_their_pinned_commit(hub, user, files, repo_id, tmp_path):
    repository = hub.add(repo_id, files[0])
    entry = registry_entry(hub, repo_id, files[0])
    newer = repository.commit(files[1])
    for options in ({}, {"revision": entry["commit"]}, {"local_files_only": True}):
        loaded = user(load_registered, entry, cache_dir=tmp_path, **options)
        assert (loaded["revision"], loaded["sha256"]) == (entry["commit"], hashes(files[0]))
    assert user(load_registered, entry, revision="main", cache_dir=tmp_path)["revision"] == newer


@pytest.mark.parametrize("times", [1, 2])
def test_registered_weights_that_arrive_damaged_are_never_kept(hub, user, files, repo_id, tmp_path, times):
    hub.add(repo_id, files[0])
    entry = registry_entry(hub, repo_id, files[0])
    hub.fail("corrupt", "model.safetensors", times=times)
    if times == 2:
        with pytest.raises(ReadError, match="damaged"):
            user(load_registered, entry, cache_dir=tmp_path)
        assert [path.name for path in check_cache(tmp_path)] == ["config.json"]
    assert user(load_registered, entry, cache_dir=tmp_path)["sha256"] == entry["sha256"]
    check_cache(tmp_path)


def test_a_hub_with_other_weights_than_the_registered_is_refused(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[1])
    entry = registry_entry(hub, repo_id, files[0])
    for _ in range(2):
        with pytest.raises(ReadError, match="registered"):
            user(load_registered, entry, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("model.safetensors"))


# -- a hub that fails --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize(("kind", "times"), [("500", 3), ("reset", 3), ("truncated", 1), ("corrupt", 2)])
def test_after_a_failed_download_the_next_try_succeeds(hub, user, files, repo_id, tmp_path, kind, times, file):
    hub.add(repo_id, files[0])
    hub.fail(kind, file, times)
    with pytest.raises(ReadError, match=repo_id):
        user(load, repo_id, cache_dir=tmp_path)
    assert file not in [path.name for path in check_cache(tmp_path)]
    with pytest.raises(ReadError):  # nor is there anything that would pass for the model
        user(load, repo_id, cache_dir=tmp_path, local_files_only=True)
    assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == hashes(files[0])
    assert len(check_cache(tmp_path)) == 2


@pytest.mark.parametrize(("kind", "method"), [("corrupt", "GET"), ("500", "HEAD")])
def test_small_failures_are_mended_within_one_call(hub, user, files, repo_id, tmp_path, kind, method):
    hub.add(repo_id, files[0])
    hub.fail(kind, "model.safetensors", method=method)
    assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == hashes(files[0])
    assert len(check_cache(tmp_path)) == 2


def test_a_connection_closed_within_a_file_is_taken_up_where_it_ended(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[0])
    hub.fail("cut", "model.safetensors")
    try:
        loaded = user(load, repo_id, cache_dir=tmp_path)  # huggingface_hub 2 goes on by itself
    except ReadError:
        assert [path.name for path in check_cache(tmp_path)] == ["config.json"]
        loaded = user(load, repo_id, cache_dir=tmp_path)
    assert loaded["sha256"] == hashes(files[0])
    assert len(check_cache(tmp_path)) == 2


def test_damage_in_the_cache_is_mended(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[0])
    user(load, repo_id, cache_dir=tmp_path)
    for name in ("config.json", "model.safetensors"):
        (pointer,) = tmp_path.rglob(name)
        pointer.resolve().write_bytes(files[0][name][:100])
        with pytest.raises(ReadError, match=r"damaged.*local_files_only"):
            user(load, repo_id, cache_dir=tmp_path, local_files_only=True)
        assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == hashes(files[0])
        pointer.resolve().write_bytes(files[1][name])
        assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == hashes(files[0])
    assert len(check_cache(tmp_path)) == 2


def test_a_cache_without_links_is_checked_as_well(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[0])
    user(load, repo_id, cache_dir=tmp_path)
    for pointer in [path for path in tmp_path.rglob("*") if path.is_symlink()]:  # as huggingface_hub does on Windows
        blob = pointer.resolve()
        pointer.unlink()
        shutil.move(blob, pointer)
    (weights,) = tmp_path.rglob("model.safetensors")
    weights.write_bytes(files[1]["model.safetensors"])
    assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == hashes(files[0])


@pytest.mark.parametrize("share", [0.5, 1])
def test_a_bad_beginning_left_by_another_download_is_not_built_on(hub, user, files, repo_id, tmp_path, share):
    hub.add(repo_id, files[0])
    size = len(files[0]["model.safetensors"])
    blobs = tmp_path / f"models--{repo_id.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    left = blobs / f"{hashes(files[0])}.incomplete"  # huggingface_hub 1.9 goes on from such a file
    left.write_bytes(bytes(int(share * size)))
    assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == hashes(files[0])
    assert len(check_cache(tmp_path)) == 2


def test_a_killed_download_is_started_again(hub, user, files, repo_id, tmp_path):
    hub.add(repo_id, files[0])
    hub.fail("stalled", "model.safetensors")
    hub.stalled.clear()
    code = f"import sg_hub; sg_hub.from_pretrained({repo_id!r}, cache_dir={str(tmp_path)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | hub.environment(tmp_path / "home"))
    try:
        assert hub.stalled.wait(60)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert [path.name for path in check_cache(tmp_path)] == ["config.json"]
    assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == hashes(files[0])
    assert len(check_cache(tmp_path)) == 2


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
