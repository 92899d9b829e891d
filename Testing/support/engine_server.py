"""A service on a socket of the test's own process, with a segmenter that does as the test says."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.engine.client import volume_upload
from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.process_id import ParentWatch
from MedSAM3SegmentLib.engine.server.model_cache import FeatureCaches, LoadedModel, ModelCache
from MedSAM3SegmentLib.engine.server.server import Binding, EngineServer
from MedSAM3SegmentLib.engine.server.volume_store import VolumeStore
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.volume import Volume

from .results import axial_grid
from .slow_segmenter import SlowSegmenter

TOKEN = "a-token-of-thirty-two-letters-..."

LIVER = SegmentRequest(("liver",))


class Engine:
    """A service with a slow segmenter, on a socket of this process.

    Attributes:
        slow: the segmenter behind every model's name; the names that were loaded are in ``loaded``.
    """

    def __init__(
        self, folder: Path, volume_budget: int = 10**8, model_budget: int = 10**9, binding: Binding | None = None
    ) -> None:
        self.slow = SlowSegmenter()
        self.loaded: list[str] = []
        self.store = VolumeStore(volume_budget, folder)
        self.shelf = ModelCache(self._load, model_budget)
        self.serving = EngineServer(binding or Binding(), TOKEN, self.shelf, self.store, ParentWatch())
        self.serving.start()
        self.address = self.serving.address

    def client(self) -> EngineClient:
        return EngineClient(self.address, TOKEN, model="demo")

    def url(self, path: str) -> str:
        return self.address + path

    def _load(self, model: str, device: str, features: FeatureCaches) -> LoadedModel:
        del features
        self.loaded.append(model)
        return LoadedModel(self.slow, model, "cpu" if device == "auto" else device, 400_000_000)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    assert engine.serving.stop()
    assert not list(tmp_path.glob("medsam3-volumes-*"))


def tls_binding(folder: Path) -> Binding:
    """A certificate of its own making for this machine; skips the test where nothing is there to make it with."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl to make a certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return Binding(certificate=str(certificate), key=str(key))


def volume_of(seed: int = 0, shape: tuple[int, int, int] = (6, 8, 10), dtype: type = np.int16) -> Volume:
    array = np.random.default_rng(seed).integers(-2, 3, shape).astype(dtype)
    return Volume(
        array,
        axial_grid(shape, (0.7, 0.8, 3.0)),
        "CT",
        f"volume {seed}",
        (message("It was resampled to {edge:.1f} mm.", edge=0.7),),
    )


def wait_until(happened: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def works(engine: Engine) -> None:
    """Fail unless the next job works, voxel by voxel."""
    volume = volume_of(99)
    result = engine.client().segment(volume, LIVER)
    np.testing.assert_array_equal(result.concepts[0].mask, volume.array > 0)


def uploads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How volumes were sent from now on: by ``file`` or by ``network``."""
    ways: list[str] = []
    write, compress = volume_upload._write, volume_upload._compressed
    monkeypatch.setattr(volume_upload, "_write", lambda *given: (ways.append("file"), write(*given))[1])
    monkeypatch.setattr(volume_upload, "_compressed", lambda *given: (ways.append("network"), compress(*given))[1])
    return ways
