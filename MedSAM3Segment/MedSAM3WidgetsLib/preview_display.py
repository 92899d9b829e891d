"""What the slice views show before anything is written: slices of a run, a moved threshold, one previewed slice.

Each repaint lets all slice views draw again, which takes a while on large volumes; so they come at intervals, with the
window free in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.editing.preview_node import Color, PreviewNode
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.mrml.volumes import SceneVolume
from MedSAM3SceneLib.runs.listener import PlacedPartial
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .window_timer import WindowTimer

#: Milliseconds between two repaints at least, while a run goes on and while somebody drags and looks.
_RUN_INTERVAL_MS, _DRAG_INTERVAL_MS = 250, 80


class PreviewDisplay:
    """The one preview of the panel, or of the effect: a newer one takes the place of an older one.

    Args:
        color_of: the color of each concept; by default the vocabulary's.

    Attributes:
        is_allowed: whether anything may be shown; where it may not, what comes is left out.
    """

    def __init__(self, color_of: Callable[[str], Color] | None = None) -> None:
        self.is_allowed = True
        self._color_of = color_of
        self._preview: PreviewNode | None = None
        self._of: object = None
        self._gave_up = False
        self._timer = WindowTimer(self._repaint, is_once=True)
        self._removal = WindowTimer(self.remove, is_once=True)
        self._due_at = 0.0
        self._is_changed = False
        self._interval_ms = _RUN_INTERVAL_MS

    @property
    def is_shown(self) -> bool:
        return self._preview is not None and self._preview.is_there and not self._removal.is_running

    def show_partial(self, volume_node: Any, concepts: Sequence[str], piece: PlacedPartial) -> None:
        """Show one slice of an unfinished run; a run does not end because that fails, but shows no more of it."""
        if self._gave_up or not self.is_allowed:
            return
        try:
            preview = self._of_volume(volume_node, piece.placed, concepts)
            preview.show_slice(piece.partial.concept, piece.stack, piece.partial.slice_index, piece.partial.mask)
            self._repaint_soon(_RUN_INTERVAL_MS)
        except Exception as error:
            log_failure("what is known of a run already cannot be shown.", error)
            self.remove()
            self._gave_up = True

    def show_labels(
        self, volume_node: Any, placed: SceneVolume, concepts: Sequence[str], labels: NDArray[np.uint16]
    ) -> None:
        """Show concept ``n`` (from 1) where ``labels`` uint16 ``[k, j, i]`` says."""
        if not self.is_allowed:
            return
        self._of_volume(volume_node, placed, concepts).show_labels(labels)
        self._repaint_soon(_DRAG_INTERVAL_MS)

    def remove_soon(self) -> None:
        """As ``remove``, as soon as the window has gone on: a node that leaves the scene is told to many."""
        if self._preview is not None:
            self._removal.start(0)

    def remove(self) -> None:
        """Show nothing any more; what others show stays."""
        self._removal.stop()
        self._timer.stop()
        if self._preview is not None:
            self._preview.remove()
        self._preview, self._of = None, None
        self._gave_up = False

    def _repaint_soon(self, interval_ms: int) -> None:
        """Repaint now, or where that was just done, after the interval, once for all that came until then."""
        self._is_changed, self._interval_ms = True, interval_ms
        if not self._timer.is_running:
            self._repaint()

    def _repaint(self) -> None:
        late_ms = max(0, round(1000 * (time.monotonic() - self._due_at))) if self._timer.is_running else 0
        self._timer.stop()
        if not self._is_changed or self._preview is None:
            return
        self._is_changed = False
        self._preview.repaint()
        # Where drawing holds the window up, the timer is late by as much; it is given that time twice over.
        interval = self._interval_ms + 2 * late_ms
        self._due_at = time.monotonic() + interval / 1000
        self._timer.start(interval)

    def _of_volume(self, volume_node: Any, placed: SceneVolume, concepts: Sequence[str]) -> PreviewNode:
        if self._removal.is_running:
            self.remove()
        if self._preview is None or self._of is not placed or not self._preview.is_there:
            color_of = self._color_of or Vocabulary.load().color_for
            self._preview = PreviewNode(volume_node, placed, concepts, color_of)
            self._of = placed
        return self._preview
