"""The addresses of the page: on this machine alone, below a random token, everything else is refused.

What a handler takes is checked here (names, numbers, lengths); what it means is known to `Session`. Nothing that a
browser sends becomes a path but through `Uploads`.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import unquote, urlsplit

from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.view.session import Session

HOST = "127.0.0.1"
_HOSTS = {HOST, "localhost", "[::1]"}
"""What a browser may call this machine; a port of another number is that of an ssh tunnel."""
_MOST_JSON = 1 << 16
_STATIC = {
    "": ("index.html", "text/html; charset=utf-8"),
    "view.js": ("view.js", "text/javascript; charset=utf-8"),
    "viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "view.css": ("view.css", "text/css; charset=utf-8"),
    "niivue.js": ("niivue.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    # The page talks to this server alone, whatever a file holds; NiiVue keeps its font in data: addresses.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that no page of ours sends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves a session on the loopback until it is shut down.

    Args:
        port: 0 takes any free one.

    Raises:
        ReadError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session, self.token = session, secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ReadError(
                f"port {port} cannot be had ({error.strerror}): leave --port out, or give another"
            ) from error

    @property
    def address(self) -> str:
        """To be opened in a browser."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    """Seconds without a byte from the browser."""
    server: Server

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def version_string(self) -> str:
        return "sg-hub"

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *(str(arg).replace(self.server.token, "TOKEN") for arg in args))

    @cached_property
    def _session(self) -> Session:
        return self.server.session

    def _serve(self, method: str) -> None:
        """Answer, and where that fails say why, in JSON."""
        self._unread = True
        try:
            kind, body = self._answer(method)
            status = 200
        except RefusedError as error:
            status, kind, body = error.status, _JSON, _json({"error": str(error)})
        except SgHubError as error:
            status, kind, body = 400, _JSON, _json({"error": self._session.said(error)})
        except MemoryError:
            text = "this needs more memory than there is: close other scans, or use a larger machine"
            status, kind, body = 400, _JSON, _json({"error": text})
        except ConnectionError:
            return
        except Exception:
            _log.exception("%s %s failed", method, self.path.replace(self.server.token, "TOKEN"))
            text = "a mistake of sg-hub's own: the terminal that it runs in says which; please report it"
            status, kind, body = 500, _JSON, _json({"error": text})
        self._send(status, kind, body)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        length = self.headers.get("Content-Length")
        if (self._unread and length not in (None, "0")) or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what is left of the request is no request
        try:
            self.send_response(status)
            for name, value in (_HEADERS | {"Content-Type": kind, "Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    def _answer(self, method: str) -> tuple[str, bytes]:
        """Content type and content of an answer."""
        host = re.sub(r":\d+$", "", self.headers.get("Host", ""))
        if host not in _HOSTS:
            raise RefusedError(403, "this page is for this machine alone: open the address that sg-hub view printed")
        origin = self.headers.get("Origin")
        try:
            path, asking = urlsplit(self.path).path, urlsplit(origin or "").netloc
        except ValueError as error:
            raise RefusedError(400, "that is no address") from error
        if origin is not None and asking != self.headers.get("Host"):
            raise RefusedError(403, "another page may not ask for this")
        token, slash, rest = path.removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise RefusedError(404, "no such page: open the address that sg-hub view printed, with its token")
        if method == "GET" and rest in _STATIC:
            name, kind = _STATIC[rest]
            return kind, (files("sg_hub.view") / "static" / name).read_bytes()
        for wanted, pattern, handle in _ROUTES:
            match = re.fullmatch(pattern, rest, re.DOTALL)
            if match and wanted == method:
                result = handle(self, *match.groups())
                return result if isinstance(result, tuple) else (_JSON, _json(result))
        raise RefusedError(404, "no such page")

    def _length(self, most: int) -> int:
        text = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
            raise RefusedError(411, "a length is needed")
        if int(text) > most:
            raise RefusedError(413, f"{int(text) / 1e6:.0f} MB at once are more than the {most / 1e6:.1f} MB allowed")
        return int(text)

    def _state(self) -> dict[str, Any]:
        session = self._session
        return {
            "weights": session.about(session.model),
            "segmenter": session.about(session.segmenter) if session.segmenter else None,
            "scans": [{"id": entry.number, "name": entry.name} for entry in session.listed()],
            "mostBytes": session.uploads.most_bytes,
        }

    def _begin(self) -> dict[str, Any]:
        return {"upload": self._session.uploads.begin()}

    def _put(self, number: str, name: str) -> dict[str, Any]:
        uploads = self._session.uploads
        length = self._length(uploads.most_bytes)
        try:
            uploads.add(int(number), unquote(name, errors="surrogateescape"), self.rfile, length)
        except SgHubError:
            uploads.drop(int(number))  # the page gives all of it up, or is gone: the rest would hold room to the end
            raise
        self._unread = False
        return {}

    def _open(self, number: str) -> dict[str, Any]:
        return {"scans": [{"id": entry.number, "name": entry.name} for entry in self._session.open_upload(int(number))]}

    def _place(self) -> dict[str, Any]:
        text = self.rfile.read(self._length(_MOST_JSON))
        self._unread = False
        try:
            asked = json.loads(text)
            number, other, at = asked["scan"], asked["other"], [float(value) for value in asked["at"]]
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InvalidInputError('expected {"scan": ID, "other": ID, "at": [x, y, z]}, in mm') from error
        for value in (number, other):
            if type(value) is not int:
                raise InvalidInputError(f"{str(value)[:50]!r}: expected the number of a scan")
        return self._session.place(number, other, at)

    def _nearest(self, number: str) -> list[dict[str, Any]]:
        return self._session.nearest(int(number))

    def _embed(self, number: str) -> dict[str, Any]:
        self._session.embed(int(number))
        return {}

    def _close(self, number: str) -> dict[str, Any]:
        self._session.close(int(number))
        return {}

    def _thumbnail(self, number: str) -> tuple[str, bytes]:
        return "image/png", self._session.entry(int(number)).thumbnail


_JSON, _NIFTI, _NUMBER = "application/json", "application/octet-stream", r"(\d{1,9})"
_ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", "api/state", _Handler._state),
    ("POST", "api/uploads", _Handler._begin),
    ("PUT", f"api/uploads/{_NUMBER}/(.+)", _Handler._put),
    ("POST", f"api/uploads/{_NUMBER}/open", _Handler._open),
    ("GET", f"api/scans/{_NUMBER}", lambda self, number: self._session.described(int(number))),
    ("DELETE", f"api/scans/{_NUMBER}", _Handler._close),
    ("GET", f"api/scans/{_NUMBER}/volume.nii", lambda self, number: (_NIFTI, self._session.volume(int(number)))),
    ("POST", f"api/scans/{_NUMBER}/segmentation", lambda self, number: self._session.segment(int(number))),
    ("GET", f"api/scans/{_NUMBER}/labels.nii", lambda self, number: (_NIFTI, self._session.labels(int(number)))),
    ("POST", f"api/scans/{_NUMBER}/features", _Handler._embed),
    ("GET", f"api/scans/{_NUMBER}/nearest", _Handler._nearest),
    ("GET", f"api/scans/{_NUMBER}/thumbnail.png", _Handler._thumbnail),
    ("POST", "api/place", _Handler._place),
)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()
