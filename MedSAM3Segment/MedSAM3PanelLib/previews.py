"""What the slice views show before anything is written: slices of a run, a moved threshold, one previewed slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SceneLib.preview_segmentation import PreviewSegmentation, remove_previews
from MedSAM3SceneLib.segmentation_run import PlacedPartial
from MedSAM3SceneLib.volumes import PlacedVolume
from MedSAM3SegmentLib.concepts import Vocabulary


class Previews:
    """The one preview of the panel: a newer one takes the place of an older one."""

    def __init__(self) -> None:
        self._preview: PreviewSegmentation | None = None
        self._of: object = None

    @property
    def is_shown(self) -> bool:
        return self._preview is not None and self._preview.is_there

    def show_partial(self, volume_node: Any, concepts: Sequence[str], piece: PlacedPartial) -> None:
        """Show one slice of an unfinished run."""
        preview = self._of_volume(volume_node, piece.placed, concepts)
        preview.show_slice(piece.partial.concept, piece.stack, piece.partial.slice_index, piece.partial.mask)

    def show_labels(
        self, volume_node: Any, placed: PlacedVolume, concepts: Sequence[str], labels: NDArray[np.uint8]
    ) -> None:
        """Show concept ``n`` (from 1) where ``labels`` uint8 ``[k, j, i]`` says."""
        self._of_volume(volume_node, placed, concepts).show_labels(labels)

    def remove(self) -> None:
        """Show nothing any more."""
        if self._preview is not None:
            self._preview.remove()
        self._preview, self._of = None, None
        remove_previews(slicer.mrmlScene)

    def _of_volume(self, volume_node: Any, placed: PlacedVolume, concepts: Sequence[str]) -> PreviewSegmentation:
        if self._preview is None or self._of is not placed or not self._preview.is_there:
            self._preview = PreviewSegmentation(volume_node, placed, concepts, Vocabulary.load())
            self._of = placed
        return self._preview
