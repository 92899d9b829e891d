"""The way to a service elsewhere: its certificate, a proxy or a forwarded port in between, and what is said of them."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.client.http import HttpConnection
from MedSAM3SegmentLib.engine.client.volume_upload import read_proof
from MedSAM3SegmentLib.errors import EngineError, InputError
from support.engine_server import LIVER, TOKEN, Engine, tls_binding, volume_of


def test_with_tls_the_certificate_is_checked(tmp_path: Path) -> None:
    binding = tls_binding(tmp_path)
    engine = Engine(tmp_path, binding=binding)
    try:
        assert engine.address.startswith("https://")
        with pytest.raises(EngineError, match="is not trusted here"):
            EngineClient(engine.address, TOKEN).segment(volume_of(), LIVER)
        with pytest.raises(EngineError, match="is not trusted here"):
            EngineClient(engine.address, TOKEN, certificate=binding.key).segment(volume_of(), LIVER)
        with pytest.raises(InputError, match=r"missing\.pem does not exist"):
            EngineClient(engine.address, TOKEN, certificate=str(tmp_path / "missing.pem"))
        with pytest.raises(EngineError):
            EngineClient(engine.address.replace("https", "http"), TOKEN).segment(volume_of(), LIVER)
        volume = volume_of()
        result = EngineClient(engine.address, TOKEN, certificate=binding.certificate).segment(volume, LIVER)
        np.testing.assert_array_equal(result.concepts[0].mask, volume.array > 0)
    finally:
        assert engine.serving.stop()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>Please sign in</html>", "is no engine"),
        (200, b"[]", "is no engine"),
        (400, b"Invalid host header", "--name"),  # what the engine itself says before it reads anything
        (404, b"<html>Not found</html>", "HTTP status 404"),
        (413, b"<html>Request Entity Too Large</html>", "client_max_body_size"),
        (502, b"<html>Bad Gateway</html>", "proxy"),
    ],
)
def test_what_a_proxy_answers_in_the_engines_place_is_said_in_words(status: int, body: bytes, words: str) -> None:
    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        client = EngineClient(f"http://127.0.0.1:{proxy.server_address[1]}", TOKEN)
        with pytest.raises(EngineError, match=words):
            client.status()
        with pytest.raises(EngineError, match=words):
            client.segment(volume_of(), LIVER)
        proxy.shutdown()


def test_a_service_at_a_forwarded_port_has_no_other_file_read_or_written(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client takes it for one of this machine, and it names files as if it were."""
    secret, profile = tmp_path / "proof", tmp_path / "profile"
    secret.write_text("small secret")
    profile.write_text("untouched")
    monkeypatch.setattr(engine.store, "proof_path", lambda: secret)
    assert read_proof(HttpConnection(engine.address, TOKEN)) == ""
    monkeypatch.undo()

    expect = engine.store.expect
    monkeypatch.setattr(engine.store, "expect", lambda offer: (expect(offer)[0], profile))
    volume = volume_of()
    result = engine.client().segment(volume, LIVER)
    np.testing.assert_array_equal(result.concepts[0].mask, volume.array > 0)
    assert profile.read_text() == "untouched"


def test_addresses_that_would_send_images_in_the_clear_are_refused() -> None:
    for address in ("http://gpu.example.org:8765", "http://10.0.0.1", "ftp://127.0.0.1", "gpu", ""):
        with pytest.raises(InputError):
            EngineClient(address, TOKEN)
    EngineClient("https://gpu.example.org", TOKEN)
