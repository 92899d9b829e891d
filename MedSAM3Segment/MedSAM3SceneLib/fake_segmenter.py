"""A segmenter without a model, for self-tests in Slicer and tests on slicer-core: it finds voxels by their value."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from MedSAM3SegmentLib.concepts import prompt_for
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.grid import SliceStack
from MedSAM3SegmentLib.intensity import choose_window
from MedSAM3SegmentLib.request import CancelCheck, Progress, ProgressCallback, SegmentRequest, Stage
from MedSAM3SegmentLib.result import (
    ConceptResult,
    Instance,
    ModelIdentity,
    Provenance,
    SegmentResult,
    SliceEvidence,
)
from MedSAM3SegmentLib.volume import Volume


class FakeSegmenter:
    """Answers requests as the real segmenter does, from volumes whose voxel values are labels.

    Args:
        values: the voxel value of each phrase, by the phrase as the model is asked; other phrases are never found.

    Attributes:
        requests: what was asked, in order.
    """

    def __init__(self, values: Mapping[str, int]) -> None:
        self.values = dict(values)
        self.requests: list[SegmentRequest] = []

    def segment(
        self,
        volume: Volume,
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
    ) -> SegmentResult:
        """The voxels of ``volume`` that have the value of each concept, within the slices asked for.

        Raises:
            Cancelled: ``cancel`` returned True before a slice.
        """
        self.requests.append(request)
        stack = SliceStack.along(volume.grid, request.plane)
        first, end = request.slices or (0, stack.count)
        for done in range(end - first):
            if cancel is not None and cancel():
                raise Cancelled("The segmentation was cancelled; nothing was written.")
            if progress is not None:
                progress(Progress(Stage.SEGMENTING, done + 1, end - first, 0.0))
        concepts = tuple(self._concept(volume, request, stack, text, range(first, end)) for text in request.concepts)
        provenance = Provenance(
            model=ModelIdentity("fake", "0" * 64, is_demo=True),
            device="none",
            plane=stack.plane,
            threshold=0.5 if request.threshold is None else request.threshold,
            input_name=volume.name,
            input_sha256=volume.content_hash,
            created="2000-01-01T00:00:00+00:00",
        )
        return SegmentResult(stack, concepts, provenance, {"segmenting slices": 0.0}, volume.messages)

    def _concept(
        self, volume: Volume, request: SegmentRequest, stack: SliceStack, concept: str, slices: range
    ) -> ConceptResult:
        prompt = prompt_for(concept)
        # No voxel is NaN's equal.
        slices_of_mask = stack.extract(volume.array == self.values.get(prompt, np.nan)).copy()
        slices_of_mask[: slices.start] = False
        slices_of_mask[slices.stop :] = False
        mask = stack.insert(slices_of_mask)
        scores = {index: float(slices_of_mask[index].any()) for index in slices}
        voxels = int(mask.sum())
        hit = [index for index, score in scores.items() if score]
        instance = Instance(1, voxels, voxels * volume.grid.voxel_volume_mm3, min(hit), max(hit), 1.0) if hit else None
        return ConceptResult(
            concept=concept,
            prompt=prompt,
            window=choose_window(volume, override=request.window),
            evidence=tuple(SliceEvidence(index, score, score) for index, score in scores.items()),
            found=voxels > 0,
            reason=f"'{concept}' was found on {len(hit)} slices."
            if hit
            else f"'{concept}' was not found on any slice.",
            mask=mask,
            instance_map=mask.astype(np.uint16),
            instances=(instance,) if instance else (),
        )
