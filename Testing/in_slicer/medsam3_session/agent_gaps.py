"""How long the window stands still while the agent works, and while its cards are used."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from .abdomen import Abdomen, add_abdomen, add_large_abdomen, knowing_segmenter
from .session import Session
from .steps import Steps, Until, pause
from .window_gaps import Meter

_MODULE = "MedSAM3Agent"


def check_agent_gaps(session: Session) -> Steps:
    """All actions on the sample, then on as many voxels as a large CT has."""
    yield from _check(session, add_abdomen, "sample 48x128x128")
    yield from _check(session, add_large_abdomen, "CT 300x512x512")


def _check(session: Session, add: Callable[[], Abdomen], volume: str) -> Steps:
    session.close_scene()
    slicer.util.selectModule(_MODULE)
    widget = slicer.util.getModuleWidget(_MODULE)
    abdomen = add()
    widget.logic.segmenter = knowing_segmenter(abdomen, 0.0)
    widget.ui.volumeSelector.setCurrentNode(abdomen.node)
    widget.ui.languageSelector.setCurrentIndex(0)
    widget.ui.requestEdit.plainText = "left kidney"
    yield pause(1.0)
    meter = Meter(session, volume)
    try:
        with meter.measured("Ask"):
            session.press(widget.ui.askButton)
            yield Until(lambda: not widget.panel.is_busy, "an end of the request", 900)
            yield pause(0.5)
        widget.panel.rounds.newest.goOnEdit.text = "shrink the left kidney 10 mm"
        with meter.measured("Go on from here"):
            session.press(widget.panel.rounds.newest.goOnButton)
            yield Until(lambda: not widget.panel.is_busy, "an end of the request", 900)
            yield pause(0.5)
        with meter.measured("opening another card"):
            session.press(widget.panel.rounds.cards[0].section)
            yield pause(0.5)
        with meter.measured("Keep"):
            session.press(widget.panel.rounds.newest.keepButton)
            yield pause(0.5)
        with meter.measured("Show beside (Slicer makes two views)", is_asked=False):
            session.press(widget.panel.rounds.newest.besideButton)
            yield Until(lambda: widget.ui.besidePanel.visible, "two rounds beside each other", 60)
            yield pause(0.5)
        session.press(widget.ui.hideBesideButton)
        with meter.measured("Undo"):
            session.press(widget.ui.undoButton)
            yield pause(0.5)
    finally:
        meter.close()
        widget.logic.segmenter = None
    session.close_scene()
