"""``medsam3 serve`` by hand: what it refuses, and that what it prints is what a client needs."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.process.discovery import FOLDER_VARIABLE
from support.engine_server import LIVER, tls_binding, volume_of
from support.slow_segmenter import SLOW_COMMAND


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder of the test's own."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "run"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@contextmanager
def started(*options: str) -> Iterator[tuple[str, str]]:
    """An engine that was started by hand, by the address and the token that it printed."""
    process = subprocess.Popen(
        [sys.executable, *SLOW_COMMAND, "serve", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1], process.stdout.readline().split()[-1]
    finally:
        # Windows has no SIGINT for one process.
        process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        process.communicate(timeout=120)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_what_it_prints_is_what_a_client_needs(
    tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With TLS at all addresses, that is a name; ``0.0.0.0`` leads nowhere from another machine."""
    binding = tls_binding(tmp_path)
    files = ["--tls-certificate", binding.certificate, "--tls-key", binding.key]
    with started("--host", host, "--name", "localhost", *files) as (address, token):
        assert address.startswith("https://localhost:" if host == "0.0.0.0" else "https://127.0.0.1:")
        volume = volume_of()
        result = EngineClient(address, token, certificate=binding.certificate, model="0").segment(volume, LIVER)
        np.testing.assert_array_equal(result.concepts[0].mask, volume.array > 0)

        monkeypatch.setenv("MEDSAM3_ENGINE_TOKEN", token)
        assert main(["info", "--engine", address, "--certificate", binding.certificate]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"at {address}" in shown
        assert "slow 0" in shown
        assert "volumes in RAM" in shown
        assert "1 finished" in shown
        assert token not in shown
        assert main(["info", "--engine", address, "--certificate", binding.certificate]) == 2
        assert "needs the engine's token" in capsys.readouterr().err


def test_its_way_of_logging_ends_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Within one process, as in these tests, what it logs to may be closed afterwards."""
    names = ("MedSAM3SegmentLib.engine", "uvicorn", "uvicorn.error", "asyncio")
    before = [(list(logging.getLogger(name).handlers), logging.getLogger(name).level) for name in names]
    hook = threading.excepthook
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen" in capsys.readouterr().err
    assert before == [(logging.getLogger(name).handlers, logging.getLogger(name).level) for name in names]
    assert threading.excepthook is hook


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "in the clear"),
        (["--host", "192.0.2.1", "--name", "gpu"], "in the clear"),
        (["--host", "0.0.0.0", "--behind-proxy"], "needs --name"),
        (["--host", "0", "--behind-proxy"], "needs --name"),
        (["--host", "", "--behind-proxy"], "needs --name"),
        (["--host", "::", "--behind-proxy"], "needs --name"),
        (["--name", "https://gpu.example.org"], "without a port"),
        (["--name", "*"], "is no --name"),
        (["--tls-key", "key.pem"], "both"),
        (["--tls-key", "no.pem", "--tls-certificate", "no.pem"], "does not exist"),
        (["--host", "192.0.2.1", "--behind-proxy"], "cannot listen"),
        (["--port", "99999"], "--port"),
        (["--volume-budget", "0"], "more than 0"),
        (["--token-file", "missing"], "cannot be read"),
    ],
)
def test_what_is_not_safe_is_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["serve", *options]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("medsam3-volumes-*"))


@pytest.mark.parametrize(
    ("certificate", "key", "named"),
    [("broken", "broken", "certificate.pem"), ("good", "broken", "key.pem"), ("good", "other", "key.pem")],
)
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl to make a certificate")
def test_an_unusable_certificate_is_named_before_the_engine_is_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], certificate: str, key: str, named: str
) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=engine".split()
    for name in ("good", "other"):
        (tmp_path / name).mkdir()
        files = ["-keyout", tmp_path / name / "key.pem", "-out", tmp_path / name / "certificate.pem"]
        subprocess.run([*command, *files], check=True, capture_output=True)
    (tmp_path / "broken").mkdir()
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / "broken" / name).write_text("-----BEGIN NOTHING-----")
    options = ["--tls-certificate", str(tmp_path / certificate / "certificate.pem")]

    assert main(["serve", *options, "--tls-key", str(tmp_path / key / "key.pem")]) == 2

    shown = capsys.readouterr()
    assert shown.out == "", "no address and no token of an engine that does not run"
    assert named in shown.err
    assert not list(tmp_path.glob("medsam3-volumes-*"))


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps others out of the home folder in another way")
def test_tokens_that_others_can_read_or_guess_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "token"
    file.write_text("t" * 40)
    file.chmod(0o644)
    assert main(["serve", "--token-file", str(file)]) == 2
    assert "chmod 600" in capsys.readouterr().err
    file.write_text("short")
    file.chmod(0o600)
    assert main(["serve", "--token-file", str(file)]) == 2
    assert "at least 32" in capsys.readouterr().err
