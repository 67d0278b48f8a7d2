"""A stand-in for a hub on loopback: the calls that the client really makes, over one folder; and ways to misbehave."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
_BLOCK = 64 << 10


@dataclass
class Hub:
    """`tiny/encoder` at the branch main. Large files are in LFS, as on a real hub: by SHA-256, behind a redirect."""

    folder: Path
    lfs_from_bytes: int = 10_000
    #: Bytes a second of each file; 0 for as fast as it goes.
    pace: int = 0
    #: Break the connection after so many bytes of a file, this many times.
    break_after: int = 0
    breaks: int = 0
    ignore_range: bool = False
    damaged: set[str] = field(default_factory=set)
    redirect_to: str = ""
    gated: bool = False
    failing: int = 0
    token: str = ""
    card: dict[str, Any] = field(default_factory=lambda: {"license": "apache-2.0", "language": ["en"]})
    #: Method, path and the Range header of every request.
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    #: Name and Range header of each answer with a file's content.
    served: list[tuple[str, str]] = field(default_factory=list)
    sent_bytes: int = 0

    def __post_init__(self) -> None:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def names(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def fetched(self, name: str) -> list[str]:
        """The Range headers of the answers with a file's content."""
        return [wanted for served, wanted in self.served if served == name]

    def sibling(self, name: str) -> dict[str, Any]:
        content = self.content(name)
        found: dict[str, Any] = {
            "rfilename": name,
            "size": len(content),
            "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest(),
        }
        if len(content) >= self.lfs_from_bytes:
            found["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return found


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        hub = self.hub
        path = unquote(urlsplit(self.path).path)
        hub.seen.append((self.command, path, self.headers.get("Range", "")))
        if hub.failing:
            hub.failing -= 1
            self._answer(503, {"error": "busy"})
        elif hub.token and path.startswith("/api") and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer(401, {"error": "Invalid credentials"}, **{"X-Error-Code": "RepoNotFound"})
        elif path.startswith("/api/models/tiny/encoder"):
            self._model(path.removeprefix("/api/models/tiny/encoder").removeprefix("/revision/"))
        elif path.startswith(f"/tiny/encoder/resolve/{COMMIT}/"):
            name = path.removeprefix(f"/tiny/encoder/resolve/{COMMIT}/")
            if len(hub.content(name)) >= hub.lfs_from_bytes:
                self.send_response(302)
                self.send_header("Location", f"{hub.redirect_to or hub.url}/cdn/{name}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._file(name)
        elif path.startswith("/cdn/"):
            self._file(path.removeprefix("/cdn/"))
        else:
            self._answer(404, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _model(self, revision: str) -> None:
        if self.hub.gated:
            self._answer(403, {"error": "gated"}, **{"X-Error-Code": "GatedRepo"})
        elif revision not in {"", "main", COMMIT}:
            self._answer(404, {"error": "Invalid rev id"}, **{"X-Error-Code": "RevisionNotFound"})
        else:
            siblings = [self.hub.sibling(name) for name in self.hub.names()]
            self._answer(
                200, {"id": "tiny/encoder", "sha": COMMIT, "siblings": siblings, "cardData": self.hub.card, "tags": []}
            )

    def _answer(self, status: int, body: dict[str, Any], **headers: str) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _file(self, name: str) -> None:
        hub = self.hub
        content = hub.content(name)
        if name in hub.damaged:
            content = bytes([content[0] ^ 1]) + content[1:]
        start = 0
        wanted = self.headers.get("Range", "")
        hub.served.append((name, wanted))
        if wanted and not hub.ignore_range:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = 0
        for place in range(start, len(content), _BLOCK):
            block = content[place : place + _BLOCK]
            if hub.breaks and sent + len(block) > hub.break_after:
                hub.breaks -= 1
                self.close_connection = True
                return
            try:
                self.wfile.write(block)
            except OSError:
                return
            sent += len(block)
            hub.sent_bytes += len(block)
            if hub.pace:
                time.sleep(len(block) / hub.pace)
