"""A hub on loopback for the real huggingface_hub client: repositories, commits, LFS, and failures on request.

    with HubServer() as hub:
        subprocess.run([...], env=os.environ | hub.environment(tmp_path))

The client takes plain LFS and HTTP from this server, for two reasons. Uploads: it asks for Xet storage only where
hf_xet is installed and HF_HUB_DISABLE_XET is not set; `environment` sets it. Downloads: it turns to Xet only when the
answer to HEAD names a Xet hash, and here none does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".png", ".bin")


@dataclass
class Repository:
    owner: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Every commit's whole content, oldest first."""
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit with this whole content to a branch; returns its hash."""
        about = [self.branches.get(branch), len(self.commits), sorted((path, sha256(files[path])) for path in files)]
        sha = hashlib.sha1(json.dumps(about).encode()).hexdigest()
        self.commits[sha], self.branches[branch] = dict(files), sha
        return sha


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class HubServer:
    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.users = {"hf_alice": "alice", "hf_bob": "bob"}
        """Who a token belongs to."""
        self.lfs: dict[str, bytes] = {}
        self.requests: list[str] = []
        """METHOD PATH of everything that was asked, in order."""
        self.tokens_at_storage: list[str] = []
        """Tokens that the client gave away to the file storage, which is another host."""
        self.refuse_cards: str | None = None
        """What validate-yaml answers; absent: every card is valid."""
        self.after: dict[str, Callable[[], Any]] = {}
        """Called once, after the file of that name was sent whole."""
        self.lies: dict[str, dict[str, str]] = {}
        """Headers of answers about the file of that name, in place of the true ones."""
        self.stalled = threading.Event()
        """Set as soon as a stalled answer has sent its first half."""
        self.failures: list[tuple[str, str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """What a user's environment holds to work with this hub; an empty token counts as none."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": token or "",
            "NO_PROXY": "*",
        }

    def add(self, repo_id: str, files: dict[str, bytes] | None = None, **options: bool) -> Repository:
        """A repository as the hub makes it, with .gitattributes in a first commit, and `files` in a second."""
        repository = self.repositories[repo_id] = Repository(repo_id.split("/")[0], **options)
        attributes = {".gitattributes": "".join(f"*{suffix} filter=lfs\n" for suffix in LFS_SUFFIXES).encode()}
        for content in ({},) if files is None else ({}, files):
            repository.commit(attributes | content)
        return repository

    def fail(self, kind: str, path: str, times: int = 1, method: str = "GET") -> None:
        """The next `times` answers with a file or a page whose path ends in `path` fail.

        Args:
            kind: a status, such as `500`; `hangs`: no answer comes at all; `reset`: the connection is reset in the
                middle of the file; `cut`: it is closed there, and the client goes on from there by itself;
                `truncated`: half the file as if it were all of it; `corrupt`: the right size with a wrong content;
                `stalled`: nothing comes after the first half. What is sent up (PUT, by its sha256) is refused,
                whatever the kind. Of pages below /api/, a status or `hangs`.
        """
        self.failures += [(kind, method, path)] * times

    def take_failure(self, method: str, path: str) -> str | None:
        for failure in self.failures:
            if failure[1] == method and path.endswith(failure[2]):
                self.failures.remove(failure)
                return failure[0]
        return None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(path: str, data: bytes) -> str:
    """As the hub has it: sha256 of an LFS file, git's hash of any other."""
    return sha256(data) if path.endswith(LFS_SUFFIXES) else git_hash(data)


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            hub.requests.append(f"{self.command} {unquote(url.path)}")
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.query = parse_qs(url.query)
            try:
                for method, pattern, answer in ROUTES:
                    match = re.fullmatch(pattern, url.path)
                    if match and self.command in method.split("|"):
                        if url.path.startswith("/api/"):
                            self.refuse(hub.take_failure(self.command, url.path))
                        answer(self, *(unquote(group) for group in match.groups()))
                        return
                raise Refusal(404, "", f"no such page: {self.path}")
            except Refusal as refusal:
                headers = {"X-Error-Message": refusal.message, "X-Error-Code": refusal.code}
                self.answer({"error": refusal.message}, refusal.status, headers)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = handle_any

        def reply(self, body: bytes, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()

        def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
            body = json.dumps(content).encode()
            self.reply(body, status, {"Content-Type": "application/json"} | (headers or {}))
            if self.command != "HEAD":
                self.wfile.write(body)

        def user(self, needed: bool = False) -> str | None:
            """Whose token came along; nobody's is refused, as the hub does for public pages too."""
            given = self.headers.get("Authorization")
            if given is None and needed:
                raise Refusal(401, "", "Invalid username or password.")
            if given is None:
                return None
            user = hub.users.get(given.removeprefix("Bearer "))
            if user is None:
                raise Refusal(401, "", "Invalid credentials in Authorization header")
            return user

        def repository(self, repo_id: str, write: bool = False) -> Repository:
            user, repository = self.user(), hub.repositories.get(repo_id)
            if repository is None or (repository.private and user != repository.owner):
                # Who may not read it is not told that it is there.
                raise Refusal(401 if user is None else 404, "RepoNotFound", "Repository not found")
            if write and user != repository.owner:
                raise Refusal(401 if user is None else 403, "", "You don't have the rights to write here")
            return repository

        def revision(self, repository: Repository, revision: str) -> str:
            sha = (repository.branches | repository.tags).get(revision, revision)
            if sha not in repository.commits:
                raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return sha

        def whoami(self) -> None:
            self.answer({"type": "user", "name": self.user(needed=True), "orgs": [], "auth": {"type": "access_token"}})

        def create(self) -> None:
            asked, user = json.loads(self.body), self.user(needed=True)
            owner = asked.get("organization") or user
            if owner != user:
                raise Refusal(403, "", f"You don't have the rights to create a model under the namespace {owner!r}")
            repo_id = f"{owner}/{asked['name']}"
            there = repo_id in hub.repositories
            if not there:  # 1.x asks with `private`, later clients with `visibility`
                hub.add(repo_id, private=bool(asked.get("private")) or asked.get("visibility") == "private")
            self.answer({"url": f"{hub.url}/{repo_id}", "name": repo_id}, 409 if there else 200)

        def info(self, repo_id: str, revision: str = "main") -> None:
            repository = self.repository(repo_id)
            sha = self.revision(repository, revision)
            files = [{"rfilename": path} for path in sorted(repository.commits[sha])]
            about = {"private": repository.private, "gated": repository.gated, "siblings": files, "tags": []}
            self.answer({"id": repo_id, "sha": sha, **about})

        def tree(self, repo_id: str, revision: str) -> None:
            repository = self.repository(repo_id)
            files = repository.commits[self.revision(repository, revision)]
            found: list[dict[str, Any]] = []
            for path, data in sorted(files.items()):
                found.append({"type": "file", "path": path, "size": len(data), "oid": git_hash(data)})
                if path.endswith(LFS_SUFFIXES):
                    found[-1]["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
            self.answer(found)

        def make_branch(self, repo_id: str, name: str) -> None:
            repository, start = self.repository(repo_id, write=True), json.loads(self.body).get("startingPoint", "main")
            self.make(repository.branches, name, self.revision(repository, start))

        def make_tag(self, repo_id: str, revision: str) -> None:
            repository = self.repository(repo_id, write=True)
            self.make(repository.tags, json.loads(self.body)["tag"], self.revision(repository, revision))

        def make(self, names: dict[str, str], name: str, sha: str) -> None:
            there = name in names
            names.setdefault(name, sha)
            self.answer({}, 409 if there else 200)

        def validate(self) -> None:
            errors = [{"message": hub.refuse_cards}] if hub.refuse_cards else []
            self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)

        def preupload(self, repo_id: str, revision: str) -> None:
            repository = self.repository(repo_id, write=True)
            there = repository.commits[self.revision(repository, revision)]
            files = []
            for asked in json.loads(self.body)["files"]:
                path = asked["path"]
                files.append({"path": path, "shouldIgnore": False})
                files[-1]["uploadMode"] = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
                files[-1]["oid"] = etag(path, there[path]) if path in there else None
            self.answer({"files": files})

        def batch(self, repo_id: str) -> None:
            self.repository(repo_id, write=True)
            objects = json.loads(self.body)["objects"]
            for item in objects:
                if item["oid"] not in hub.lfs:
                    href = f"{hub.url}/storage/{item['oid']}"
                    item["actions"] = {"upload": {"href": href}, "verify": {"href": f"{hub.url}/verify/{repo_id}"}}
            self.answer({"transfer": "basic", "objects": objects})

        def put(self, oid: str) -> None:
            if hub.take_failure("PUT", oid) or sha256(self.body) != oid:
                raise Refusal(400, "", f"the content does not hash to {oid}")
            hub.lfs[oid] = self.body
            self.answer({})

        def verify(self, repo_id: str) -> None:
            self.repository(repo_id, write=True)
            asked = json.loads(self.body)
            if len(hub.lfs.get(asked["oid"], b"")) != asked["size"]:
                raise Refusal(404, "", f"{asked['oid']} did not arrive")
            self.answer({})

        def commit(self, repo_id: str, revision: str) -> None:
            repository = self.repository(repo_id, write=True)
            if revision not in repository.branches:
                raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            files = dict(repository.commits[repository.branches[revision]])
            for line in self.body.decode().splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif item["key"] == "lfsFile":
                    files[value["path"]] = hub.lfs[value["oid"]]  # there, or the client forgot to upload it
            sha = repository.commit(files, revision)
            self.answer({"success": True, "commitOid": sha, "commitUrl": f"{hub.url}/{repo_id}/commit/{sha}"})

        def resolve(self, repo_id: str, revision: str, path: str) -> None:
            repository = self.repository(repo_id)
            sha = self.revision(repository, revision)
            headers = {"X-Repo-Commit": sha}
            if repository.gated and self.user() != repository.owner:
                raise Refusal(401 if self.user() is None else 403, "GatedRepo", f"Access to {repo_id} is restricted")
            data = repository.commits[sha].get(path)
            if data is None:
                self.answer({}, 404, headers | {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
                return
            if not path.endswith(LFS_SUFFIXES):
                self.send_file(path, data, headers | {"ETag": f'"{etag(path, data)}"'})
                return
            if self.command == "HEAD":
                self.refuse(hub.take_failure("HEAD", path))
            oid = sha256(data)
            hub.lfs[oid] = data
            headers |= {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(len(data))}
            # Another name, so another host to the client: it must keep its token to itself.
            headers["Location"] = f"http://localhost:{hub.port}/storage/{oid}?path={quote(path)}"
            self.answer({}, 302, headers | hub.lies.get(path, {}))

        def storage(self, oid: str) -> None:
            if "Authorization" in self.headers:
                hub.tokens_at_storage.append(self.headers["Authorization"])
            self.send_file(self.query["path"][0], hub.lfs[oid], {"ETag": f'"{oid}"'})

        def send_file(self, path: str, data: bytes, headers: dict[str, str]) -> None:
            failure = hub.take_failure(self.command, path)
            self.refuse(failure)
            headers = headers | hub.lies.get(path, {})
            if failure == "corrupt":
                data = data[: len(data) // 2] + bytes(255 - byte for byte in data[len(data) // 2 :])
            if failure == "truncated":
                data = data[: len(data) // 2]
            status = 200
            if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                status, start = 206, int(match.group(1))
                headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
                data = data[start:]
            self.reply(data, status, headers)
            if self.command == "HEAD":
                return
            if failure in ("reset", "cut", "stalled"):
                self.break_off(data[: len(data) // 2], failure)
                return
            self.wfile.write(data)
            if hook := hub.after.pop(path, None):
                hook()

        def refuse(self, failure: str | None) -> None:
            if failure == "hangs":
                self.rfile.read(1)  # until the client goes away
                raise BrokenPipeError
            if failure is not None and failure.isdigit():
                raise Refusal(int(failure), "", "Internal Error")

        def break_off(self, part: bytes, failure: str) -> None:
            self.wfile.write(part)
            if failure == "stalled":
                hub.stalled.set()
                self.rfile.read(1)  # until the client goes away
            if failure == "reset":  # closed with a reset packet, where `cut` says goodbye
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            self.close_connection = True

    repo = r"([^/]+/[^/]+)"
    ROUTES = [
        ("GET", "/api/whoami-v2", Handler.whoami),
        ("POST", "/api/repos/create", Handler.create),
        ("POST", "/api/validate-yaml", Handler.validate),
        ("GET", f"/api/models/{repo}", Handler.info),
        ("GET", f"/api/models/{repo}/revision/([^/]+)", Handler.info),
        ("GET", f"/api/models/{repo}/tree/([^/]+)", Handler.tree),
        ("POST", f"/api/models/{repo}/branch/([^/]+)", Handler.make_branch),
        ("POST", f"/api/models/{repo}/tag/([^/]+)", Handler.make_tag),
        ("POST", f"/api/models/{repo}/preupload/([^/]+)", Handler.preupload),
        ("POST", f"/api/models/{repo}/commit/([^/]+)", Handler.commit),
        ("POST", rf"/{repo}\.git/info/lfs/objects/batch", Handler.batch),
        ("POST", f"/verify/{repo}", Handler.verify),
        ("PUT", "/storage/([0-9a-f]{64})", Handler.put),
        ("GET", "/storage/([0-9a-f]{64})", Handler.storage),
        ("GET|HEAD", f"/{repo}/resolve/([^/]+)/(.+)", Handler.resolve),
    ]
    return Handler
