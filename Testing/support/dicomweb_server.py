"""PACS that speak DICOMweb over a real socket: one of our own that can misbehave, and Orthanc where it is installed."""

from __future__ import annotations

import fnmatch
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pydicom

#: What a server answers in place of the right thing: status, headers, body.
Answer = tuple[int, dict[str, str], bytes]

_BOUNDARY = "between-two-parts"


@dataclass(eq=False)
class Pacs:
    """A running server.

    Attributes:
        address: of its service.
        objects: what it holds, as files' bytes; None where only the server knows.
        headers: of each request, in order.
        misbehave: given method and path, what is answered in place of the right thing, or None.
    """

    address: str = ""
    objects: list[bytes] | None = None
    headers: list[dict[str, str]] = field(default_factory=list)
    misbehave: Callable[[str, str], Answer | None] = lambda _method, _path: None


@contextmanager
def own_pacs(tls: tuple[Path, Path] | None = None) -> Iterator[Pacs]:
    """A small PACS: QIDO, WADO and STOW as far as a client that looks for series and fetches them needs it.

    Args:
        tls: certificate and key, PEM, or None for plain HTTP.
    """
    pacs = Pacs(objects=[])

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                data = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(data)

        def _answer(self, data: bytes) -> None:
            pacs.headers.append(dict(self.headers.items()))
            parts = urlsplit(self.path)
            status, headers, body = pacs.misbehave(self.command, parts.path) or self._right(parts, data)
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass

        def _right(self, parts: Any, data: bytes) -> Answer:
            assert pacs.objects is not None
            if self.command == "POST":
                content_type = self.headers["Content-Type"]
                message = BytesParser(policy=policy.HTTP).parsebytes(
                    f"Content-Type: {content_type}\r\n\r\n".encode() + data
                )
                pacs.objects += [part.get_payload(decode=True) for part in message.iter_parts()]
                return 200, {"Content-Type": "application/dicom+json"}, b"{}"
            names = parts.path.removeprefix("/dicom-web/").split("/")
            wanted = dict(parse_qsl(parts.query))
            held = [(data, _header(data)) for data in pacs.objects]
            if names == ["studies"]:
                return _found(held, "StudyInstanceUID", wanted)
            if names == ["series"] or (names[0] == "studies" and names[2:] == ["series"]):
                study = {} if len(names) == 1 else {"StudyInstanceUID": names[1]}
                return _found(held, "SeriesInstanceUID", {**wanted, **study})
            matching = [
                data for data, header in held if names[1::2] == [header.StudyInstanceUID, header.SeriesInstanceUID]
            ]
            if not matching:
                return 404, {}, b""
            head = b"--" + _BOUNDARY.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n"
            body = b"".join(head + one + b"\r\n" for one in matching) + b"--" + _BOUNDARY.encode() + b"--"
            kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
            return 200, {"Content-Type": kind}, body

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        service.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            service.socket = context.wrap_socket(service.socket, server_side=True, do_handshake_on_connect=False)
        pacs.address = f"{'http' if tls is None else 'https'}://127.0.0.1:{service.server_address[1]}/dicom-web"
        Thread(target=service.serve_forever, daemon=True).start()
        try:
            yield pacs
        finally:
            service.shutdown()


def orthanc_plugin() -> Path | None:
    """Orthanc's DICOMweb plugin; None where Orthanc or the plugin is not installed."""
    plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    return plugin if plugin.exists() and shutil.which("Orthanc") is not None else None


@contextmanager
def orthanc_pacs(folder: Path) -> Iterator[Pacs]:
    """Orthanc with an empty store in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": port, "DicomServerEnabled": False,
        "AuthenticationEnabled": False, "Plugins": [str(orthanc_plugin())],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    file = folder / "orthanc.json"
    file.write_text(json.dumps(settings))
    process = subprocess.Popen(["Orthanc", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield Pacs(f"http://127.0.0.1:{port}/dicom-web")
    finally:
        process.terminate()
        process.wait(30)


def _header(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(data), stop_before_pixels=True)


def _found(held: list[tuple[bytes, pydicom.Dataset]], level: str, wanted: dict[str, str]) -> Answer:
    offset, limit = int(wanted.pop("offset", 0)), int(wanted.pop("limit", 1000))
    wanted.pop("includefield", None)
    found: dict[str, pydicom.Dataset] = {}
    for _, header in held:
        matches = (fnmatch.fnmatchcase(str(header.get(name, "")), value) for name, value in wanted.items())
        if not all(matches):
            continue
        uid = str(header[level].value)
        if uid not in found:
            one = found[uid] = pydicom.Dataset()
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "SeriesNumber"):
                if name in header:
                    one[name] = header[name]
            one.NumberOfSeriesRelatedInstances = 0
        found[uid].NumberOfSeriesRelatedInstances += 1
    page = list(found.values())[offset : offset + limit]
    return 200, {"Content-Type": "application/dicom+json"}, json.dumps([one.to_json_dict() for one in page]).encode()
