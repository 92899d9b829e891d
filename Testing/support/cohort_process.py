"""``medsam3`` whose segmenter is a stand-in that finds what is above zero and takes its time; for tests of cohorts."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from MedSAM3SegmentLib.provenance import ModelIdentity

from .paths import ROOT, TESTING
from .slow_segmenter import SlowSegmenter


class StandIn(SlowSegmenter):
    """A slow segmenter that says which model it is.

    Attributes:
        model: its identity and device.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.model = SimpleNamespace(identity=ModelIdentity("stand-in", "0" * 64, False), device="cpu")


def run_medsam3(seconds: float) -> None:
    """The words of the command line, with a stand-in that takes ``seconds`` for each slice."""
    from MedSAM3SegmentLib.cli.main import main
    from MedSAM3SegmentLib.models import load_model
    from MedSAM3SegmentLib.segmenter import Segmenter

    Segmenter.load = classmethod(lambda *_: StandIn(seconds))  # type: ignore[assignment]
    load_model.identify_model = lambda *_: StandIn().model.identity  # type: ignore[assignment]
    sys.exit(main())


def command(seconds: float) -> list[str]:
    """A Python interpreter that runs ``run_medsam3``; the words after ``medsam3`` follow."""
    path = [str(TESTING), str(ROOT / "MedSAM3Segment")]
    code = f"import sys; sys.path[:0] = {path}; from support.cohort_process import run_medsam3; run_medsam3({seconds})"
    return [sys.executable, "-c", code]
