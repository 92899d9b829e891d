"""A weight file of any supported layout, read under the names of transformers' ``Sam3VideoModel``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch

from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.messages.message import message

from .key_mapping import is_unused, meta_name_of, targets_of
from .tracker_keys import POINT_EMBEDDINGS
from .weight_files import WeightFile, open_weights
from .weight_targets import (
    DETECTOR,
    DETECTOR_MODEL,
    TRACKER,
    TRACKER_MODEL,
    TRACKER_NECK,
    KeyTarget,
    TensorTransform,
)


class Part(Enum):
    """The three networks that one SAM 3 file may hold."""

    DETECTOR = DETECTOR_MODEL
    TRACKER = TRACKER_MODEL
    NECK = TRACKER_NECK


class Layout(Enum):
    """Whose names a file uses."""

    META = "Meta"
    TRANSFORMERS = "transformers"


#: How files of other families are told: part of a key that only they have, and what they are.
_OTHER_FAMILIES = (
    (".propagation_convs.", message("a SAM 3.1 multiplex checkpoint")),
    (".interactive_convs.", message("a SAM 3.1 multiplex checkpoint")),
    ("tracker.model.", message("a SAM 3.1 multiplex checkpoint")),
    ("image_encoder.trunk.", message("a SAM 2 checkpoint")),
    ("image_encoder.blocks.", message("a SAM 1 checkpoint")),
    (".rel_pos_h", message("a SAM 1 checkpoint")),
    ("vision_encoder.backbone.blocks.", message("a SAM 2 checkpoint")),
)
_ADAPTER_KEYS = ("lora_A", "lora_B")


@dataclass(frozen=True)
class Piece:
    """One of the file's tensors, or a part of it, that a tensor of the network is made from."""

    stored_name: str
    change: TensorTransform = TensorTransform.NONE
    row: int = 0


class Checkpoint:
    """The weights of a SAM 3, whatever the layout they are stored in.

    Attributes:
        file: where they are.
        layout: whose names the file uses.
        names: every tensor that can be read, as ``Sam3VideoModel`` names it.
    """

    def __init__(self, file: WeightFile) -> None:
        self.file = file
        self.layout = recognise_layout(file.shapes, file.path)
        self._bare = not any(name.startswith((DETECTOR, TRACKER, *_PREFIXES)) for name in file.shapes)
        self._pieces: dict[str, list[Piece]] = {}
        self._targets: dict[str, tuple[KeyTarget, ...]] = {}
        for stored in file.shapes:
            targets = self._targets_of(stored)
            self._targets[stored] = targets
            for target in targets:
                self._pieces.setdefault(target.name, []).append(Piece(stored, target.change, target.row))
        self.names = self._pieces.keys()
        self._check_rows()

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open a weight file.

        Raises:
            ModelError: it cannot be read, or is not of SAM 3.
        """
        return cls(open_weights(path))

    @property
    def path(self) -> Path:
        return self.file.path

    def has(self, part: Part) -> bool:
        """Whether any weight of this part is there."""
        return any(name.startswith(part.value) for name in self.names)

    def stored_name(self, name: str) -> str:
        """What this file calls a tensor of ``Sam3VideoModel``, whether it is there or not."""
        if name in self._pieces:
            return self._pieces[name][0].stored_name
        if self.layout is Layout.TRANSFORMERS:
            return name.removeprefix(DETECTOR_MODEL) if self._bare else name
        meta = meta_name_of(name)
        return meta if self._bare or meta.startswith(TRACKER) else DETECTOR + meta

    def read(self, part: Part, *, keep_mapped: bool = True) -> Iterator[tuple[str, torch.Tensor]]:
        """All tensors of one part, under its own names (without the part's prefix).

        Args:
            keep_mapped: see ``WeightFile.read``.
        """
        yield from self.read_names([name for name in self.names if name.startswith(part.value)], part, keep_mapped)

    def read_names(
        self, names: Iterable[str], part: Part, keep_mapped: bool = True
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Some tensors of ``Sam3VideoModel``, in the file's order, without the part's prefix."""
        wanted = set(names)
        stored = dict.fromkeys(piece.stored_name for name in wanted for piece in self._pieces[name])
        order = [name for name in self.file.shapes if name in stored]
        rows: dict[str, dict[int, torch.Tensor]] = {}
        for stored_name, tensor in self.file.read(order, keep_mapped=keep_mapped):
            for target in self._targets[stored_name]:
                if target.name not in wanted:
                    continue
                name = target.name.removeprefix(part.value)
                if target.change is not TensorTransform.AS_ROW:
                    yield name, target.change.apply(tensor)
                    continue
                found = rows.setdefault(target.name, {})
                found[target.row] = tensor
                if len(found) == len(self._pieces[target.name]):
                    yield name, torch.cat([found[row] for row in sorted(found)])

    def _check_rows(self) -> None:
        """Tensors made of several need them all."""
        for pieces in self._pieces.values():
            if pieces[0].change is not TensorTransform.AS_ROW:
                continue
            rows = {piece.row for piece in pieces}
            missing = next((row for row in range(POINT_EMBEDDINGS) if row not in rows), None)
            if missing is not None:
                name = pieces[0].stored_name.replace(f".{pieces[0].row}.", f".{missing}.")
                raise ModelError(
                    "The weight file {path} lacks '{name}'; download it again.", path=self.file.path, name=name
                )

    def _targets_of(self, stored: str) -> tuple[KeyTarget, ...]:
        if self.layout is Layout.TRANSFORMERS:
            # transformers 5.23 writes this prefix twice when it saves Sam3VideoModel; the published file has it once.
            name = stored.replace(TRACKER_MODEL * 2, TRACKER_MODEL, 1)
            return (KeyTarget(DETECTOR_MODEL + name if self._bare else name),)
        if is_unused(stored):
            return ()
        targets = targets_of(stored)
        if not targets:
            raise ModelError(
                "The weight file {path} holds '{stored}', which SAM 3 does not have; give the right file.",
                path=self.file.path,
                stored=stored,
            )
        return targets


_PREFIXES = (DETECTOR_MODEL, TRACKER_MODEL, TRACKER_NECK)


def recognise_layout(names: Iterable[str], path: Path) -> Layout:
    """Whose names these are.

    Raises:
        ModelError: they are of another family, named for what it is, or of none that is known.
    """
    names = list(names)
    if any(key in name for name in names for key in _ADAPTER_KEYS):
        raise ModelError(
            "The file {path} is an adapter and not a whole model; name its base first, as in 'facebook/sam3+{path}'.",
            path=path,
        )
    for key, family in _OTHER_FAMILIES:
        found = next((name for name in names if key in name), None)
        if found is not None:
            raise ModelError(
                "The file {path} is {family} (it holds '{found}') and not SAM 3; give a SAM 3 model.",
                path=path,
                family=family,
                found=found,
            )
    if any(name.startswith(("backbone.vision_backbone.", DETECTOR, TRACKER)) for name in names):
        return Layout.META
    if any(name.startswith(("vision_encoder.", *_PREFIXES)) for name in names):
        return Layout.TRANSFORMERS
    first = next(iter(names), message("nothing"))
    raise ModelError(
        "The file {path} is not a SAM 3 model (it holds '{first}'); give a SAM 3 model.", path=path, first=first
    )


def namer(checkpoint: Checkpoint, part: Part) -> Callable[[str], str]:
    """Turns a part's own names into the file's, for messages."""
    return lambda name: checkpoint.stored_name(part.value + name)
