"""A model hub on this machine: enough of the hub's protocol for real downloads over a real socket."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class LocalHub:
    """What the hub holds and what it was asked.

    Attributes:
        repositories: folder of files by hub id.
        gated: hub ids without access.
        damaged: file names that are sent with a flipped byte.
        break_after: bytes after which the next sending of a large file breaks off, once.
        hold_after: bytes after which the sending of a large file waits for ``go_on``.
        requests: method, path and Range header of everything it was asked.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    break_after: int | None = None
    hold_after: int | None = None
    go_on: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    address: str = ""


@contextmanager
def running_hub() -> Iterator[LocalHub]:
    """Serve until the end of the block."""
    hub = LocalHub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The hub that models are fetched from in a test."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "300")  # while it holds, nobody asks again
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running
        running.go_on.set()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path = urlsplit(self.path).path.strip("/")
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            self._describe("/".join(parts[2:4]))
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._send_file("/".join(parts[:2]), "/".join(parts[4:]), body)
        else:
            self._refuse(404, "EntryNotFound")

    def _describe(self, hub_id: str) -> None:
        folder = self.hub.repositories.get(hub_id)
        if folder is None:
            self._refuse(404, "RepoNotFound")
            return
        siblings: list[dict[str, object]] = []
        for path in sorted(folder.iterdir()):
            entry: dict[str, object] = {"rfilename": path.name, "size": path.stat().st_size, "blobId": "0" * 40}
            if path.suffix in (".safetensors", ".pt"):
                entry["lfs"] = {"sha256": _sha256(path), "size": path.stat().st_size, "pointerSize": 134}
            siblings.append(entry)
        content = {"id": hub_id, "modelId": hub_id, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
        content |= {"downloads": 0, "likes": 0, "cardData": {"license": "apache-2.0"}}
        data = json.dumps(content).encode()
        self._send(200, {"Content-Type": "application/json"}, data)

    def _send_file(self, hub_id: str, name: str, body: bool) -> None:
        folder = self.hub.repositories.get(hub_id)
        if hub_id in self.hub.gated:
            self._refuse(403, "GatedRepo")
            return
        if folder is None or not (folder / name).is_file():
            self._refuse(404, "EntryNotFound" if folder else "RepoNotFound")
            return
        data = (folder / name).read_bytes()
        etag = hashlib.sha256(data).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if name in self.hub.damaged:
            data = data[:-1] + bytes([data[-1] ^ 1])
        status, start = 200, 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            start = int(asked[6:].split("-")[0])
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers["Content-Length"] = str(len(data) - start)
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return
        end = len(data)
        if self.hub.break_after is not None and len(data) > self.hub.break_after:
            end, self.hub.break_after = self.hub.break_after, None
            self.close_connection = True
        if self.hub.hold_after is not None and start < self.hub.hold_after < end:
            self.wfile.write(data[start : self.hub.hold_after])
            start = self.hub.hold_after
            self.hub.go_on.wait(120)
        with suppress(OSError):  # Whoever asked may have left.
            self.wfile.write(data[start:end])

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}")

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
