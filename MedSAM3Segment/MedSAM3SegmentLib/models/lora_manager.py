"""Adapters of one base, merged into its network one at a time, without loading the base again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from MedSAM3SegmentLib.adapters.slice_adapter import SliceAdapter
from MedSAM3SegmentLib.checkpoints.checkpoint import Checkpoint, Part
from MedSAM3SegmentLib.checkpoints.lora import check_fits
from MedSAM3SegmentLib.checkpoints.lora_weights import Adapter
from MedSAM3SegmentLib.checkpoints.weight_targets import DETECTOR_MODEL
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.provenance import ModelIdentity

if TYPE_CHECKING:
    from transformers import Sam3Model

#: Weights that decide the image features.
_VISION = DETECTOR_MODEL + "vision_encoder."


def check_base(adapters: Iterable[Adapter], base: ModelIdentity) -> None:
    """Refuse adapters that say that they were trained on other weights than the base's.

    Raises:
        ModelError: naming the adapter.
    """
    for adapter in adapters:
        card = adapter.card
        if card.base_sha256 and card.base_sha256 != base.sha256:
            raise ModelError(
                "The adapter '{adapter}' was trained on other weights ({wanted}, from '{base}') than those of "
                "'{name}' ({found}); use the base that it was trained on.",
                adapter=adapter.identity.name,
                wanted=card.base_sha256[:12],
                base=card.base,
                name=base.name,
                found=base.sha256[:12],
            )


class LoraManager:
    """Which adapter is merged into a network.

    Merging adds to the base's weight in float32 and rounds once, so each switch starts from the file's own values, of
    which only the weights that change are read again; nothing drifts however often it is switched.

    Attributes:
        adapters: that were read, by name.
        active: name of the one that is merged, or None.
        vision_merged: whether its changes to the image encoder are merged too.
    """

    def __init__(self, network: Sam3Model, checkpoint: Checkpoint) -> None:
        self._checkpoint, self._network = checkpoint, network
        self._slice_adapters: dict[str, SliceAdapter] = {}
        self._parameters = {Part.DETECTOR.value + name: value for name, value in network.named_parameters()}
        self._merged: set[str] = set()
        self.adapters: dict[str, Adapter] = {}
        self.active: str | None = None
        self.vision_merged = False

    def add(self, adapter: Adapter) -> None:
        """Make an adapter known; it is not merged yet.

        Raises:
            ModelError: the base cannot take it whole.
            InputError: another one has its name.
        """
        if adapter.identity.name in self.adapters:
            raise InputError(
                "Two adapters are named '{name}'; rename the file or the name in the card of one.",
                name=adapter.identity.name,
            )
        check_fits(adapter, {name: tuple(value.shape) for name, value in self._parameters.items()})
        if adapter.additions:
            width = int(self._network.config.vision_config.backbone_config.hidden_size)
            self._slice_adapters[adapter.identity.name] = SliceAdapter.from_weights(
                adapter.additions, width, adapter.path
            )
        self.adapters[adapter.identity.name] = adapter

    @property
    def slice_adapter(self) -> SliceAdapter | None:
        """What the adapter in use adds between slices, where the network is and in its number format."""
        found = self._slice_adapters.get(self.active or "")
        return None if found is None else found.to(self._network.device, self._network.dtype)

    @property
    def active_adapter(self) -> Adapter | None:
        return None if self.active is None else self.adapters[self.active]

    @torch.inference_mode(False)
    @torch.no_grad()
    def merge(self, name: str | None, *, vision: bool = True) -> None:
        """Merge one adapter in place of what was merged before, or none.

        Args:
            vision: False leaves the image encoder as the base has it, for features that SAM 3's tracker was trained on.

        Raises:
            InputError: there is no such adapter.
        """
        if name is not None and name not in self.adapters:
            known = ", ".join(self.adapters) or "none"
            raise InputError("The adapter '{name}' is not loaded; loaded are: {known}.", name=name, known=known)
        adapter = None if name is None else self.adapters[name]
        wanted = set() if adapter is None else {n for n in adapter.names if vision or not n.startswith(_VISION)}
        stale = self._merged | wanted
        if name == self.active:
            stale = self._merged ^ wanted
        for short, weight in self._checkpoint.read_names(stale, Part.DETECTOR, keep_mapped=False):
            full = Part.DETECTOR.value + short
            parameter = self._parameters[full]
            if adapter is not None and full in wanted:
                weight = adapter.apply(full, weight)
            # New memory: the old may be the file itself, mapped.
            parameter.data = weight.to(parameter.device, parameter.dtype, copy=True)
        self._merged, self.active, self.vision_merged = wanted, name, vision and adapter is not None

    @contextmanager
    def original_vision(self) -> Iterator[None]:
        """Within the block the image encoder is the base's; afterwards as before.

        A switch reads the changed weights anew, so do whole volumes in one block and not slice by slice.
        """
        before = self.vision_merged
        self.merge(self.active, vision=False)
        try:
            yield
        finally:
            self.merge(self.active, vision=before)
