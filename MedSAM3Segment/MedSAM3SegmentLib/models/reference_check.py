"""Reference sets: small weights in Meta's layout, inputs, and what Meta's own code gives for them.

Such a folder holds ``config.json``, ``meta_tiny.pt``, ``medsam3_lora.pt``, ``cases.json`` and ``cases.npz``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import ModelError

from .detector import BoxPrompts, Sam3Detector

WEIGHTS, ADAPTER, CASES, ARRAYS = "meta_tiny.pt", "medsam3_lora.pt", "cases.json", "cases.npz"

#: Largest allowed difference per output: about ten times what rounding in another order of operations gives.
TOLERANCES = {
    "pred_logits": 2e-4,
    "presence_logit": 2e-4,
    "pred_boxes_xyxy": 2e-5,
    "pred_masks": 2e-3,
    "semantic_seg": 2e-4,
    "trunk": 2e-4,
    "fpn0": 2e-4,
    "fpn1": 2e-4,
    "fpn2": 2e-4,
    "text": 2e-4,
}


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference of one output in one case."""

    case: str
    output: str
    largest: float

    @property
    def within(self) -> bool:
        """Whether it is no more than rounding (a difference that is not a number never is)."""
        return self.largest <= TOLERANCES[self.output]


class ReferenceSet:
    """The image cases of a reference set.

    Attributes:
        folder: where it lies.
        cases: their names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._cases: dict[str, Any] = {
                case["name"]: case for case in json.loads((folder / CASES).read_bytes())["cases"]
            }
            self._arrays: dict[str, NDArray[Any]] = dict(np.load(folder / ARRAYS))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                "The reference set {folder} cannot be read ({why}); copy it again.", folder=folder, why=str(error)
            ) from error
        self.cases = tuple(self._cases)

    @torch.inference_mode()
    def differences(self, model: Sam3Detector, kind: str) -> Iterator[Difference]:
        """Compare a model with what Meta's code gave.

        Args:
            kind: ``base``, or ``lora`` with the adapter applied.
        """
        yield from self._feature_differences(model, kind)
        for case in self.cases:
            outputs = self._run(model, case)
            for name, output in outputs.items():
                yield Difference(case, name, _largest(output, self._arrays[f"{case}__{kind}__{name}"]))

    def _run(self, model: Sam3Detector, case: str) -> dict[str, torch.Tensor]:
        pictures, phrases = self._cases[case]["image_index"], self._cases[case]["text_index"]
        pyramid = model.build_pyramid(model.encode_images(self._tensor("pixel_values")[pictures]))
        features = model.encode_tokens(self._tensor("input_ids")[phrases], self._tensor("attention_mask")[phrases])
        boxes = None
        if self._cases[case]["has_boxes"]:
            boxes = BoxPrompts(self._tensor(f"{case}__boxes"), self._tensor(f"{case}__box_labels"))
        raw = model.detect(pyramid, features, boxes)
        return {
            "pred_logits": raw.pred_logits,
            "presence_logit": raw.presence_logits,
            "pred_boxes_xyxy": raw.pred_boxes,
            "pred_masks": raw.pred_masks,
            "semantic_seg": raw.semantic_seg[:, None],
        }

    def _feature_differences(self, model: Sam3Detector, kind: str) -> Iterator[Difference]:
        features = model.encode_images(self._tensor("pixel_values")[:1])
        reference = self._arrays[f"features__{kind}__trunk"]
        tokens = features.tokens.transpose(1, 2).reshape(reference.shape)
        yield Difference("features", "trunk", _largest(tokens, reference))
        levels = model.build_pyramid(features).levels
        for level in (0, 1):
            crop = levels[level][:, :8, :16, :16]
            yield Difference(
                "features", f"fpn{level}", _largest(crop, self._arrays[f"features__{kind}__fpn{level}_crop"])
            )
        yield Difference("features", "fpn2", _largest(levels[2], self._arrays[f"features__{kind}__fpn2"]))
        text = model.encode_tokens(self._tensor("input_ids"), self._tensor("attention_mask"))
        reference = self._arrays[f"features__{kind}__text"]
        valid = text.attention_mask.numpy(force=True)
        yield Difference("features", "text", _largest(text.text_embeds[text.attention_mask], reference[valid]))

    def _tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self._arrays[name])


def _largest(output: torch.Tensor, reference: NDArray[Any]) -> float:
    if tuple(output.shape) != reference.shape:
        return float("inf")
    return float(np.abs(output.float().numpy(force=True) - reference).max())


def reference_differences(folder: Path) -> dict[str, list[Difference]]:
    """Load a reference set's weights, and compare every case without and with its adapter.

    Returns:
        Differences under ``base`` and, where the set has an adapter, under ``lora``.

    Raises:
        ModelError: the set or its weights cannot be read.
    """
    from MedSAM3SegmentLib.checkpoints.checkpoint import Checkpoint
    from MedSAM3SegmentLib.checkpoints.lora import load_adapter
    from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
    from MedSAM3SegmentLib.checkpoints.networks import load_networks

    from .lora_manager import LoraManager

    golden = ReferenceSet(folder)
    checkpoint = Checkpoint.open(folder / WEIGHTS)
    networks = load_networks(checkpoint, folder, device="cpu", dtype=torch.float32)
    switch = LoraManager(networks.detector, checkpoint)
    model = Sam3Detector(networks.detector, None, ModelCard(folder.name), tracker=networks.tracker, adapters=switch)
    found = {"base": list(golden.differences(model, "base"))}
    if (folder / ADAPTER).is_file():
        adapter = load_adapter(folder / ADAPTER)
        switch.add(adapter)
        switch.merge(adapter.identity.name)
        found["lora"] = list(golden.differences(model, "lora"))
    return found
