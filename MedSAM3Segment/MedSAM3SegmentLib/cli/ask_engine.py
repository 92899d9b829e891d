"""Segmenting through an engine that runs already, so that a loop over files in a shell does not start over."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.options.model import ModelSection

from .terminal import Terminal

if TYPE_CHECKING:
    from MedSAM3SegmentLib.engine.process.engine_process import EngineProcess
    from MedSAM3SegmentLib.results.result import SegmentResult


@contextmanager
def running_engine(model: ModelSection, terminal: Terminal) -> Iterator[EngineProcess | None]:
    """The engine of this user that runs on this machine, or None, which is said; left at the end of the block.

    An engine that 3D Slicer started lives on while this process uses it; one that a person started lives on anyway.
    """
    from MedSAM3SegmentLib.engine.process.engine_process import EngineProcess

    engine = EngineProcess(model=model.source, device=model.device)
    with terminal.busy("looking for the engine"):
        status = engine.status()
    if status is None:
        terminal.note(
            "No engine of this version runs, so the model is loaded here; start one with 'medsam3 serve' to keep it.",
            "yellow",
        )
        yield None
        return
    try:
        yield engine
    finally:
        engine.stop()


def describe_engine_run(result: SegmentResult, terminal: Terminal, said: Collection[str]) -> None:
    """Say what ran where, and of each phrase what only the model knew and was not ``said`` before."""
    ran = result.provenance
    demo = " (DEMO)" if ran.model.is_demo else ""
    terminal.note(f"Model: {ran.model.name}{demo} on {ran.device}, {ran.number_format}, in the running engine.")
    for concept in result.concepts:
        for sentence in concept.messages:
            if str(sentence) not in said:
                terminal.note(sentence, "yellow")
