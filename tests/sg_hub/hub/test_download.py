"""Downloads: what is missing, what is pinned, and a hub that fails, against a server on loopback."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from sg_hub import InvalidInputError, ReadError
from tests.sg_hub.hub.in_a_process import check_cache, hashes, load, load_registered, push
from tests.support.hub_user import ALICE, counting

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
