"""Hubs that lie, that fail for a moment, and that do not answer at all."""

import os

import pytest
from huggingface_hub import HfFileMetadata, file_download

from sg_hub import InvalidInputError, ReadError, SemanticGenesis3D
from sg_hub.hub import answers
from tests.sg_hub.hub.in_a_process import load, push
from tests.support.hub_server import sha256
from tests.support.hub_user import ALICE, User, counting

FILES = ["config.json", "model.safetensors"]
PASSING = ["429", "500", "502", "503", "504"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    SemanticGenesis3D(width=1, num_classes=2).save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def impatient_user(hub, tmp_path_factory):
    user = User(hub.environment(tmp_path_factory.mktemp("home")), timeout=0.4)
    yield user
    user.pool.shutdown()


def names_below(folder):
    return {path.name for path in folder.rglob("*")}


# -- lies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("ETag", '"../../../escaped"'),
        ("X-Linked-ETag", '"../../../escaped"'),
        ("X-Linked-ETag", "W/../../../escaped"),
        ("X-Linked-ETag", "/tmp/escaped"),
        ("X-Linked-ETag", "C:escaped"),
        ("X-Linked-ETag", ".."),
        ("X-Linked-ETag", "e" * 300),
        ("X-Repo-Commit", "../../../escaped"),
        ("X-Repo-Commit", "main"),
        ("X-Repo-Commit", "E" * 40),
    ],
)
def test_an_answer_that_is_none_of_a_hub_is_refused_before_it_is_used(
    hub, user, files, repo_id, tmp_path, file, header, value
):
    hub.add(repo_id, files)
    cache = tmp_path / "a" / "b" / "cache"
    hub.lies[file] = {"X-Linked-ETag": "", header: value}
    with pytest.raises(ReadError, match=r"gives what no hub answers .* nothing of it was used"):
        user(load, repo_id, cache_dir=cache)
    for name in names_below(tmp_path):
        assert "escaped" not in name
        assert not name.startswith("eeee")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and cache not in path.parents]
    hub.lies.clear()
    assert user(load, repo_id, cache_dir=cache)["sha256"] == sha256(files["model.safetensors"])


def test_a_pinned_commit_is_that_commit(hub, user, files, repo_id, tmp_path):
    commit = hub.add(repo_id, files).branches["main"]
    hub.lies["config.json"] = {"X-Repo-Commit": "0" * 40}
    with pytest.raises(ReadError, match=f"commit {'0' * 40}, asked for {commit}"):
        user(load, repo_id, revision=commit, cache_dir=tmp_path)
    assert "0" * 40 not in names_below(tmp_path)


@pytest.mark.parametrize("revision", ["../../x", "a/../../../x", "/tmp/x", 7])
def test_no_revision_leads_out_of_the_cache(hub, user, files, repo_id, tmp_path, revision):
    hub.add(repo_id, files)
    with counting(hub, repo_id) as asked, pytest.raises(InvalidInputError, match="revision="):
        user(load, repo_id, revision=revision, cache_dir=tmp_path)
    assert asked == []


def test_what_others_ask_of_huggingface_hub_is_as_it_was(monkeypatch):
    checked = HfFileMetadata("c", "e", "https://hub/x", 1, None)
    ask = answers._answer_of(lambda url: f"asked {url}")
    get = answers._within_bounds(lambda **options: options)
    assert ask("x") == "asked x"
    assert get() == {}
    with answers.handing_over(checked):
        assert ask("x") is checked
        assert get() == {"_nb_retries": 2}
        assert get(_nb_retries=1) == {"_nb_retries": 1}
    assert ask("x") == "asked x"
    assert file_download.get_hf_file_metadata.__module__ == answers.__name__


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", PASSING)
def test_a_hub_that_fails_for_a_moment_is_asked_again(hub, user, files, repo_id, tmp_path, status):
    hub.add(repo_id, files)
    for file in FILES:
        hub.fail(status, file, method="HEAD")
        hub.fail(status, file, method="GET")
    assert user(load, repo_id, cache_dir=tmp_path)["sha256"] == sha256(files["model.safetensors"])


@pytest.mark.parametrize("page", ["/api/repos/create", "/api/models/REPO", "/commit/main"])
def test_an_upload_goes_on_where_the_hub_failed_for_a_moment(hub, user, repo_id, page):
    hub.add(repo_id)
    hub.fail("502", page.replace("REPO", repo_id), method="GET" if "models" in page else "POST")
    commit = user(push, 0, repo_id, token=ALICE)
    assert hub.repositories[repo_id].branches["main"] == commit
    assert len(hub.repositories[repo_id].commits) == 2


@pytest.mark.parametrize("status", ["400", "404", "418", "501"])
def test_what_will_not_pass_is_said_at_once(hub, user, files, repo_id, tmp_path, status):
    hub.add(repo_id, files)
    hub.fail(status, "config.json", method="HEAD")
    with counting(hub, repo_id) as asked, pytest.raises(ReadError, match=repo_id):
        user(load, repo_id, cache_dir=tmp_path)
    assert len(asked) == 1


# Every wait of these is the client's timeout, 10 s unless it is set: 5 of them are less than a minute.
MOST_WAITS = 5


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("method", "kind"), [("HEAD", "hangs"), ("GET", "hangs"), ("GET", "stalled")])
def test_a_hub_that_hangs_is_given_up_after_a_few_timeouts(
    hub, impatient_user, files, repo_id, tmp_path, method, kind, file
):
    hub.add(repo_id, files)
    hub.fail(kind, file, times=50, method=method)
    with pytest.raises(ReadError, match="does not answer"):
        impatient_user(load, repo_id, cache_dir=tmp_path)
    waits = 50 - len(hub.failures)
    hub.failures.clear()
    assert 0 < waits <= MOST_WAITS
    assert impatient_user(load, repo_id, cache_dir=tmp_path)["sha256"] == sha256(files["model.safetensors"])


def test_a_hub_that_hangs_is_no_hindrance_to_what_is_there(hub, impatient_user, files, repo_id, tmp_path):
    hub.add(repo_id, files)
    online = impatient_user(load, repo_id, cache_dir=tmp_path)
    for file in FILES:
        hub.fail("hangs", file, method="HEAD")
    assert impatient_user(load, repo_id, cache_dir=tmp_path) == online
    hub.failures.clear()


def push_impatiently(repo_id, seconds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "_LONGEST_ANSWER", seconds)
        return push(0, repo_id, token=ALICE)


@pytest.mark.parametrize("page", ["/api/repos/create", "/api/models/REPO", "/preupload/main", "/commit/main"])
def test_an_upload_to_a_hub_that_hangs_is_given_up_at_once(hub, user, repo_id, page):
    hub.add(repo_id)
    hub.fail("hangs", page.replace("REPO", repo_id), times=9, method="GET" if "models" in page else "POST")
    with pytest.raises(ReadError, match=r"nothing was committed.*does not answer"):
        user(push_impatiently, repo_id, 1.0)
    assert len(hub.failures) >= 7  # once more at the most, and not at all for as long as the timeout
    hub.failures.clear()
    commit = user(push, 0, repo_id, token=ALICE)
    assert hub.repositories[repo_id].branches["main"] == commit


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("x" * 4_000_000), ValueError("line\n" * 100_000), ReadError("told " * 3)])
def test_messages_hold_no_whole_page(error):
    said = answers.failure(error, "owner/name")
    assert len(said) < 700
    assert "owner/name" in said
    assert os.linesep not in said


def test_messages_hold_no_password_of_the_endpoint():
    shown = answers._shown("https://ann:secret@hub.example:8080/owner/name?x=1")
    assert shown == "https://hub.example:8080/owner/name?x=1"
