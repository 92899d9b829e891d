"""Whose fault a failure is stays known on every way that it takes, and a cancelled run says the same everywhere."""

from __future__ import annotations

import pytest

from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SegmentLib.engine.client.job import RemoteJob
from MedSAM3SegmentLib.engine.protocol.events import (
    Done,
    Event,
    Failed,
    FailureKind,
    Queued,
    WasCancelled,
)
from MedSAM3SegmentLib.errors import (
    CANCELLED,
    Cancelled,
    EngineError,
    InputError,
    MedSAM3Error,
    MissingTrackerError,
    ModelError,
)
from MedSAM3SegmentLib.volume import Volume
from support.engine_server import LIVER, Engine, volume_of, wait_until
from support.slow_segmenter import SlowSegmenter

KINDS = [
    (InputError, FailureKind.INPUT),
    (ModelError, FailureKind.MODEL),
    (MissingTrackerError, FailureKind.MISSING_TRACKER),
    (EngineError, FailureKind.ENGINE),
    (MedSAM3Error, FailureKind.ENGINE),
]


def failing(monkeypatch: pytest.MonkeyPatch, slow: SlowSegmenter, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(slow, "segment", fail)


@pytest.mark.parametrize(("error", "kind"), KINDS)
def test_an_error_of_a_run_is_of_the_same_kind_at_the_other_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: type[MedSAM3Error], kind: FailureKind
) -> None:
    failing(monkeypatch, engine.slow, error("It did not work."))
    back = error if error is not MedSAM3Error else EngineError
    for job in (engine.client().submit(volume_of(), LIVER), LocalEngine(engine.slow).submit(volume_of(), LIVER)):
        with pytest.raises(back, match=r"It did not work\.") as raised:
            job.wait(20)
        assert type(raised.value) is back
        last = job.poll()[-1]
        assert isinstance(last, Failed)
        assert last.kind == kind


@pytest.mark.parametrize(("error", "kind"), KINDS)
def test_an_error_of_an_answer_is_of_the_same_kind_at_the_other_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: type[MedSAM3Error], kind: FailureKind
) -> None:
    del kind

    def fail(_: object) -> Volume:
        raise error("It did not work.")

    monkeypatch.setattr(engine.store, "get", fail)
    with pytest.raises(error if error is not MedSAM3Error else EngineError, match=r"It did not work\."):
        engine.client().submit(volume_of(), LIVER).wait(20)


def events_of(job: RemoteJob) -> list[Event]:
    events: list[Event] = []
    wait_until(lambda: bool(events.extend(job.poll())) or (bool(events) and job.ended))
    return events


def test_a_job_of_this_process_speaks_like_one_of_the_engine(engine: Engine) -> None:
    volume = volume_of()
    jobs = (engine.client().submit(volume, LIVER), LocalEngine(SlowSegmenter()).submit(volume, LIVER))
    heard = []
    for job in jobs:
        job.wait(20)
        heard.append([type(event) for event in events_of(job) if not isinstance(event, Queued)])
    there, here = heard
    assert here[-1] is Done
    assert here == [kind for kind in there if kind.__name__ != "Loading"]


def test_a_defect_of_a_job_of_this_process_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowSegmenter()
    failing(monkeypatch, slow, ZeroDivisionError("a defect"))
    with pytest.raises(EngineError, match="ZeroDivisionError: a defect"):
        LocalEngine(slow).submit(volume_of(), LIVER).wait(20)


def test_a_cancelled_run_says_so_wherever_it_was_cancelled(engine: Engine) -> None:
    assert str(Cancelled()) == WasCancelled().message == CANCELLED
    engine.slow.seconds = 0.05
    for jobs in (engine.client(), LocalEngine(engine.slow)):
        job = jobs.submit(volume_of(shape=(400, 4, 4)), LIVER)
        wait_until(lambda: engine.slow.slices > 0)
        job.cancel()
        with pytest.raises(Cancelled, match=f"^{CANCELLED}$"):
            job.wait(20)


def test_a_volume_under_another_name_is_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = volume_of()
    known = volume.content_hash
    monkeypatch.setattr("hashlib.sha256", None)
    again = volume.renamed("another", ("It was cropped.",), True)
    assert again.content_hash == known
    assert (again.name, again.messages, again.is_sequence) == ("another", ("It was cropped.",), True)
    assert (again.array is volume.array, again.grid, again.modality) == (True, volume.grid, volume.modality)
