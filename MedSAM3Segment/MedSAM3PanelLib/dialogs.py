"""What the panel asks before it goes on."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
from slicer.i18n import tr as _


def confirm_replace(names: Sequence[str]) -> bool:
    """Ask the user whether segments may be written again that hold what no run brings back."""
    question = _(
        "Edited since they were segmented, marked as completed, or larger than what is looked at now: {names}. What is"
        " found now takes the place of that; Undo brings it back."
    ).format(names=", ".join(names))
    return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedSAM3 Segment")))
