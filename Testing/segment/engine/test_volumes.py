"""How volumes come to the service and stay there: once, for their user only, within a budget, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.engine.client import volume_upload
from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.engine.protocol.codec import encode
from MedSAM3SegmentLib.engine.protocol.messages import VolumeUpload
from MedSAM3SegmentLib.engine.server import arrivals, volume_store
from MedSAM3SegmentLib.engine.server.volume_store import VolumeStore
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.volume import Volume
from support.engine_server import LIVER, Engine, uploads, volume_of, wait_until, works
from support.equality import assert_same
from support.paths import TESTING
from support.slow_segmenter import SlowSegmenter


def test_a_volume_is_sent_once_and_by_file_on_the_same_machine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = uploads(monkeypatch)
    volume = volume_of()
    engine.client().segment(volume, LIVER)
    again = Volume(volume.array.copy(), volume.grid, volume.modality, "another name")
    result = engine.client().segment(again, LIVER)

    assert ways == ["file"]
    assert result.provenance.input_name == "another name"
    assert result.provenance.input_sha256 == volume.content_hash
    engine.client().segment(Volume(volume.array, volume.grid, "MR"), LIVER)
    assert ways == ["file", "file"]


def test_without_the_same_disk_volumes_travel_compressed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_upload, "_file_of_store", lambda _: None)
    ways = uploads(monkeypatch)
    volume = volume_of(3, (40, 64, 64))
    with pytest.raises(ModelError, match="not installed"):
        engine.client().submit(volume, LIVER, model="/etc").wait(20)
    result = engine.client().segment(volume, LIVER)

    assert ways == ["network"]
    assert_same(result, SlowSegmenter().segment(volume, LIVER))


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps others out of the home folder in another way")
def test_the_files_of_volumes_are_for_their_user_only(engine: Engine) -> None:
    engine.client().segment(volume_of(), LIVER)
    assert engine.store.folder.stat().st_mode & 0o077 == 0
    for file in engine.store.folder.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps the names of mapped files")
def test_no_voxels_lie_on_the_disk_under_a_name(engine: Engine) -> None:
    engine.client().segment(volume_of(), LIVER)
    assert [file.name for file in engine.store.folder.iterdir()] == ["proof"]


def test_volumes_used_least_recently_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (volume_of(seed) for seed in range(3))
    engine = Engine(tmp_path, volume_budget=2 * one.array.nbytes)
    ways = uploads(monkeypatch)
    try:
        for volume in (one, two, one, three, one, two):
            engine.client().segment(volume, LIVER)
            held = engine.client().status().caches[-1]
            assert held.bytes_held <= held.budget
        # The third volume pushed out the second, which had to come again.
        assert ways == ["file"] * 4
    finally:
        engine.serving.stop()


def test_a_volume_too_large_is_refused_in_words(tmp_path: Path) -> None:
    engine = Engine(tmp_path, volume_budget=10_000)
    try:
        with pytest.raises(InputError, match="crop it"):
            engine.client().segment(volume_of(shape=(10, 30, 30)), LIVER)
        works(engine)
    finally:
        engine.serving.stop()


def test_a_full_disk_at_the_clients_end_is_said_in_words(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(volume_upload.Path, "open", full)
        with pytest.raises(InputError, match="No space left"):
            engine.client().segment(volume_of(), LIVER)
    works(engine)


@pytest.mark.parametrize("way", ["file", "network"])
def test_a_cancelled_or_failed_upload_frees_its_budget_for_the_next_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """It needs more than half of the budget."""
    engine = Engine(tmp_path, volume_budget=1_000_000)
    volume = volume_of(shape=(10, 200, 200))
    pieces = volume_upload._pieces
    if way == "network":
        monkeypatch.setattr(volume_upload, "_file_of_store", lambda _: None)
    begun = threading.Event()

    def endless(array: np.ndarray, cancel: CancelCheck) -> Iterator[memoryview]:
        (piece,) = pieces(array, cancel)
        yield piece[:100_000]
        begun.set()
        wait_until(cancel)
        raise Cancelled()

    def breaks(array: np.ndarray, cancel: CancelCheck) -> Iterator[memoryview]:
        (piece,) = pieces(array, cancel)
        yield piece[:100_000]
        raise InputError("The disk is full.")

    try:
        monkeypatch.setattr(volume_upload, "_pieces", endless)
        job = engine.client().submit(volume, LIVER)
        assert begun.wait(20)
        job.cancel()
        with pytest.raises(Cancelled):
            job.wait(20)
        monkeypatch.setattr(volume_upload, "_pieces", breaks)
        with pytest.raises(InputError, match="disk is full"):
            engine.client().segment(volume, LIVER)
        monkeypatch.setattr(volume_upload, "_pieces", pieces)
        wait_until(lambda: [file.name for file in engine.store.folder.iterdir()] == ["proof"])
        result = engine.client().segment(volume, LIVER)
        np.testing.assert_array_equal(result.concepts[0].mask, volume.array > 0)
    finally:
        engine.serving.stop()


def offer_of(volume: Volume) -> VolumeUpload:
    return VolumeUpload(volume.content_hash, volume.array.dtype.str, volume.array.shape, volume.grid, volume.modality)


def test_a_volume_of_a_client_that_was_killed_gives_way_after_a_while(tmp_path: Path) -> None:
    """One that is still written stays, although its client sends nothing."""
    store = VolumeStore(1000, tmp_path)
    offer = offer_of(volume_of())  # of 960 bytes
    ticket, path = store.expect(offer)
    arrival = store._arrivals.get(ticket)
    path.write_bytes(b"some" * 100)
    with pytest.raises(InputError, match="Too many volumes"):
        store.expect(offer)
    arrival.last_seen -= 4.0
    with pytest.raises(InputError, match="Too many volumes"):
        store.expect(offer)
    path.write_bytes(b"some" * 101)
    arrival.last_seen -= 1000.0
    with pytest.raises(InputError, match="Too many volumes"):
        store.expect(offer)
    arrival.last_seen -= 1000.0
    _, other = store.expect(offer)
    assert not path.exists()
    assert other.exists()
    store.close()


def test_offers_without_bytes_keep_no_volume_out_and_are_not_kept_for_ever(tmp_path: Path) -> None:
    """Each could reserve the whole budget, for a minute, and whoever offers again for good."""
    engine = Engine(tmp_path, volume_budget=1000)
    try:
        offer = offer_of(volume_of())  # of 960 bytes
        for number in range(3 * arrivals.MOST_ARRIVALS):
            engine.client()._connection.send("POST", "/volumes", encode(offer))
            if number % 100 == 0:
                works(engine)
        works(engine)
        assert len(list(engine.store.folder.glob("*.voxels"))) <= arrivals.MOST_ARRIVALS
        for arrival in engine.store._arrivals._arrivals.values():
            arrival.last_seen -= 1000.0
        wait_until(lambda: [file.name for file in engine.store.folder.iterdir()] == ["proof"], 20)
    finally:
        assert engine.serving.stop()


@pytest.mark.parametrize("way", ["file", "network"])
def test_offers_with_a_byte_each_keep_no_volume_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "network":
        monkeypatch.setattr(volume_upload, "_file_of_store", lambda _: None)
    engine = Engine(tmp_path, volume_budget=2000)
    try:
        offer = offer_of(volume_of())  # of 960 bytes
        for _ in range(arrivals.MOST_ARRIVALS + 10):
            path = engine.store.expect(offer)[1]
            path.write_bytes(b"1")
        works(engine)
    finally:
        assert engine.serving.stop()


def test_a_volume_that_is_being_sent_is_not_given_up_for_another(tmp_path: Path) -> None:
    store = VolumeStore(1500, tmp_path)
    volume = volume_of()  # of 960 bytes
    voxels = volume.array.tobytes()
    first, _ = store.expect(offer_of(volume))
    store.append(first, voxels[:500])
    second, _ = store.expect(offer_of(volume_of(1)))
    with pytest.raises(InputError, match="Too many volumes"):
        store.append(second, voxels + voxels[:50])
    store.append(first, voxels[500:])
    store.complete(first)
    assert store.holds(volume.content_hash)
    store.close()


def keep(store: VolumeStore, volume: Volume) -> Path:
    """Let a store have a volume; returns the file that it came in."""
    ticket, path = store.expect(offer_of(volume))
    path.write_bytes(volume.array.tobytes())
    store.complete(ticket)
    return path


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="memory and open files are read from Linux's /proc")
def test_volumes_take_few_file_numbers_which_are_given_back(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    store = VolumeStore(10**9, tmp_path)
    before = open_files()
    for seed in range(300):
        keep(store, volume_of(seed))
    assert open_files() == before
    store.count_files(3)
    large = [volume_of(seed, (10, 500, 500)) for seed in range(5)]  # 5 MB
    for volume in large:
        keep(store, volume)
    assert store.mapped.count == 3
    assert open_files() == before + 3
    for volume in large:
        kept = store.get(volume.content_hash)
        np.testing.assert_array_equal(kept.array, volume.array)
        assert not kept.array.flags.writeable
        del kept
    store.close()
    assert (store.mapped.count, open_files()) == (0, before)


def test_a_store_keeps_no_more_volumes_than_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_store, "MOST_VOLUMES", 5)
    store = VolumeStore(10**6, tmp_path)
    volumes = [volume_of(seed) for seed in range(8)]
    for volume in (*volumes, volumes[-1]):
        keep(store, volume)
    assert [store.holds(volume.content_hash) for volume in volumes] == [False] * 3 + [True] * 5
    assert store.use().items == 5
    assert store.use().bytes_held == 5 * volumes[0].array.nbytes
    store.close()


def test_a_file_that_windows_holds_is_removed_as_soon_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a mapped file cannot be removed, and a job may still read a volume that gives way."""
    store = VolumeStore(1000, tmp_path)
    held: list[Path] = []
    unlink = Path.unlink

    def windows_unlink(path: Path, missing_ok: bool = False) -> None:
        if path in held:
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        unlink(path, missing_ok=missing_ok)

    def keep_and_hold(seed: int) -> Path:
        volume = volume_of(seed)  # of 960 bytes
        ticket, path = store.expect(offer_of(volume))
        path.write_bytes(volume.array.tobytes())
        held.append(path)
        store.complete(ticket)
        return path

    monkeypatch.setattr(Path, "unlink", windows_unlink)
    first, second = keep_and_hold(1), keep_and_hold(2)
    assert first.exists()
    held.remove(first)
    third = keep_and_hold(3)
    held.remove(second)
    fourth = keep_and_hold(4)

    assert [path.exists() for path in (first, second, third, fourth)] == [False, False, True, True]
    held.clear()
    store.close()


def test_a_folder_that_somebody_else_took_meanwhile_gets_no_voxels(tmp_path: Path) -> None:
    """The system tidied up the temporary files; the folder's name could be seen before."""
    store = VolumeStore(10_000, tmp_path)
    volume = volume_of()
    offer = VolumeUpload(volume.content_hash, volume.array.dtype.str, volume.array.shape, volume.grid, "CT")
    shutil.rmtree(store.folder)
    _, path = store.expect(offer)
    assert path.stat().st_mode & 0o077 == 0 or os.name != "posix"
    shutil.rmtree(store.folder)
    store.folder.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(InputError, match="somebody else's"):
        store.expect(offer)
    assert list(tmp_path.glob("*.voxels")) == []
    store.folder.unlink()


def test_a_model_path_is_found_after_the_temporary_files_were_cleaned_up(engine: Engine) -> None:
    """As it does with what lies there for ten days; without a proof nothing of this disk is opened."""
    client = engine.client()
    client.segment(volume_of(), LIVER)
    shutil.rmtree(engine.store.folder)

    client.model = str(TESTING)
    assert client.segment(volume_of(1), LIVER).concepts[0].found
    assert engine.loaded == ["demo", client.model]
    assert engine.store.proof_path().stat().st_mode & 0o077 == 0 or os.name != "posix"


@pytest.mark.parametrize("name", ["mkdtemp", "fdopen"])
def test_a_folder_that_cannot_be_made_is_said_in_words_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile if name == "mkdtemp" else os, name, full)
    with pytest.raises(InputError, match=f"in {tmp_path}.*No space left on device.*; free some space there"):
        VolumeStore(10_000, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_engines_end_is_said_in_words(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        def __init__(self, path: Path) -> None:
            self.path = path

        def open(self, mode: str) -> FullDisk:
            assert mode == "r+b"
            return self

        def __enter__(self) -> FullDisk:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def seek(self, *_: int) -> int:
            return 0

        def write(self, _: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def stat(self) -> os.stat_result:
            return self.path.stat()

        def unlink(self, missing_ok: bool) -> None:
            self.path.unlink(missing_ok)

    real = volume_store.Arrival
    monkeypatch.setattr(volume_upload, "_file_of_store", lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(volume_store, "Arrival", lambda offer, path: real(offer, FullDisk(path)))
        with pytest.raises(InputError, match="No space left"):
            engine.client().segment(volume_of(), LIVER)
    assert [file.name for file in engine.store.folder.iterdir()] == ["proof"]
    works(engine)


def test_bytes_that_come_when_a_volume_was_given_up_make_no_file(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its client is slow, another one comes, and its file goes between two looks."""
    volume = volume_of()
    offer = VolumeUpload(volume.content_hash, volume.array.dtype.str, volume.array.shape, volume.grid, volume.modality)
    ticket, _ = engine.store.expect(offer)
    expected = engine.store._arrivals.get

    def dropped_meanwhile(known: str) -> object:
        arrival = expected(known)
        engine.store.drop(known)
        return arrival

    monkeypatch.setattr(engine.store._arrivals, "get", dropped_meanwhile)
    with pytest.raises(InputError, match="send it again"):
        engine.store.append(ticket, b"voxels")

    assert [file.name for file in engine.store.folder.iterdir()] == ["proof"]


def test_a_volume_that_cannot_be_mapped_or_has_gone_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(np, "memmap", full)
        with pytest.raises(InputError, match="not enough memory in the engine"):
            engine.client().segment(volume_of(shape=(10, 500, 500)), LIVER)
    assert [file.name for file in engine.store.folder.iterdir()] == ["proof"]

    whole = engine.store._open
    with monkeypatch.context() as patch:
        patch.setattr(engine.store, "_open", lambda arrival: (arrival.path.unlink(), whole(arrival)))
        with pytest.raises(InputError, match="could not keep volumes in"):
            engine.client().segment(volume_of(), LIVER)
    works(engine)


def test_folders_of_killed_engines_are_removed(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    mine = ProcessId.of(os.getpid())
    dead = [f"{int(ended.stdout)}-abc", f"{int(ended.stdout)}-12-abc", f"{mine.pid}-1-abc"]
    others = [f"{mine.pid}-abc", f"{mine.pid}-{mine.started}-abc", "abc", "", "-", f"{'9' * 30}-abc", "\u0663-abc"]
    for name in (*dead, *others):
        folder = tmp_path / f"medsam3-volumes-{name}"
        folder.mkdir()
        (folder / "x.voxels").write_bytes(b"patient")
    VolumeStore(1000, tmp_path).close()
    left = {folder.name.removeprefix("medsam3-volumes-") for folder in tmp_path.iterdir()}
    assert left == set(others), "one whose number was given to another process has ended, too"


def test_a_temporary_folder_that_is_gone_with_its_parent_is_made_again_or_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(first))
    store = VolumeStore(10_000)
    shutil.rmtree(first)
    keep(store, volume_of())
    assert first.is_dir()
    shutil.rmtree(first)
    first.write_text("a file where the folder was")
    monkeypatch.setenv("TMPDIR", str(other))
    keep(store, volume_of(1))
    assert store.proof_path().parent == store.folder
    assert store.folder.parent == other
    assert store.holds(volume_of().content_hash)
    store.close()
    assert list(other.iterdir()) == []
