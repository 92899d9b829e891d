"""What the slice views show before anything is written: slices of a run, a moved threshold, one previewed slice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.preview_segmentation import Colour, PreviewSegmentation
from MedSAM3SceneLib.run_order import PlacedPartial
from MedSAM3SceneLib.volumes import PlacedVolume
from MedSAM3SegmentLib.concepts import Vocabulary


class Previews:
    """The one preview of the panel, or of the effect: a newer one takes the place of an older one.

    Args:
        colour_of: the colour of each concept; by default the vocabulary's.

    Attributes:
        is_allowed: whether anything may be shown; where it may not, what comes is left out.
    """

    def __init__(self, colour_of: Callable[[str], Colour] | None = None) -> None:
        self.is_allowed = True
        self._colour_of = colour_of
        self._preview: PreviewSegmentation | None = None
        self._of: object = None
        self._gave_up = False

    @property
    def is_shown(self) -> bool:
        return self._preview is not None and self._preview.is_there

    def show_partial(self, volume_node: Any, concepts: Sequence[str], piece: PlacedPartial) -> None:
        """Show one slice of an unfinished run; a run does not end because that fails, but shows no more of it."""
        if self._gave_up or not self.is_allowed:
            return
        try:
            preview = self._of_volume(volume_node, piece.placed, concepts)
            preview.show_slice(piece.partial.concept, piece.stack, piece.partial.slice_index, piece.partial.mask)
        except Exception:
            logging.exception("MedSAM3: what is known of a run already cannot be shown.")
            self.remove()
            self._gave_up = True

    def show_labels(
        self, volume_node: Any, placed: PlacedVolume, concepts: Sequence[str], labels: NDArray[np.uint16]
    ) -> None:
        """Show concept ``n`` (from 1) where ``labels`` uint16 ``[k, j, i]`` says."""
        if not self.is_allowed:
            return
        self._of_volume(volume_node, placed, concepts).show_labels(labels)

    def remove(self) -> None:
        """Show nothing any more; what others show stays."""
        if self._preview is not None:
            self._preview.remove()
        self._preview, self._of = None, None
        self._gave_up = False

    def _of_volume(self, volume_node: Any, placed: PlacedVolume, concepts: Sequence[str]) -> PreviewSegmentation:
        if self._preview is None or self._of is not placed or not self._preview.is_there:
            colour_of = self._colour_of or Vocabulary.load().colour_for
            self._preview = PreviewSegmentation(volume_node, placed, concepts, colour_of)
            self._of = placed
        return self._preview
