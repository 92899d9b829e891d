"""The networks of a checkpoint, filled exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from MedSAM3SegmentLib.errors import ModelError

from .build import empty_network, fill_network, without_memory
from .checkpoint import Checkpoint, Part, namer
from .config import (
    detector_config,
    read_configuration,
    tracker_config,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig, Sam3Model


@dataclass(frozen=True, eq=False)
class TrackerNetworks:
    """SAM 3's tracker and the neck that turns the shared vision backbone's output into its pyramid.

    Attributes:
        model: ``Sam3TrackerVideoModel`` without a vision encoder of its own.
        neck: ``Sam3VisionNeck``.
    """

    model: Any
    neck: Any


@dataclass(frozen=True, eq=False)
class Networks:
    """What one checkpoint gave.

    Attributes:
        detector: ``Sam3Model`` (or its variant with the light text encoder).
        tracker: None where the file holds none.
        config: of all that was loaded.
    """

    detector: Sam3Model
    tracker: TrackerNetworks | None
    config: PretrainedConfig


def load_networks(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    device: str,
    dtype: torch.dtype,
    config: PretrainedConfig | None = None,
) -> Networks:
    """Build the networks that a checkpoint holds and fill them, each weight exactly once.

    Args:
        folder: where ``config.json`` may lie.
        config: what ``read_configuration`` gave, or None to read it.

    Raises:
        ModelError: anything is missing, unexpected, of the wrong shape or not a number.
    """
    from transformers.models.sam3.modeling_sam3 import Sam3Model, Sam3VisionNeck
    from transformers.models.sam3_lite_text.modeling_sam3_lite_text import Sam3LiteTextModel
    from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoModel

    if not checkpoint.has(Part.DETECTOR):
        raise ModelError("The weight file {path} holds no detector; give a whole SAM 3 model.", path=checkpoint.path)
    config = config or read_configuration(checkpoint, folder)
    image_config = detector_config(config)
    lite = image_config.model_type == "sam3_lite_text"
    detector = empty_network(Sam3LiteTextModel if lite else Sam3Model, image_config)
    _fill(detector, checkpoint, Part.DETECTOR, device, dtype)
    video_config = tracker_config(config)
    if video_config is None:
        if checkpoint.has(Part.TRACKER):
            first = next(name for name in checkpoint.names if name.startswith(Part.TRACKER.value))
            raise ModelError(
                "The weight file {path} holds '{name}' but its configuration has no tracker; give the file "
                "together with its own config.json.",
                path=checkpoint.path,
                name=checkpoint.stored_name(first),
            )
        return Networks(detector, None, config)
    tracker = empty_network(Sam3TrackerVideoModel, video_config, remove_vision_encoder=True)
    _fill(tracker, checkpoint, Part.TRACKER, device, dtype)
    with without_memory():
        neck = Sam3VisionNeck(image_config.vision_config)
    _fill(neck, checkpoint, Part.NECK, device, dtype)
    return Networks(detector, TrackerNetworks(tracker, neck), config)


def _fill(network: Any, checkpoint: Checkpoint, part: Part, device: str, dtype: torch.dtype) -> None:
    weights = checkpoint.read(part, keep_mapped=device == "cpu" and checkpoint.file.dtypes == {dtype})
    fill_network(network, weights, checkpoint.path, dtype=dtype, device=device, stored_name=namer(checkpoint, part))
