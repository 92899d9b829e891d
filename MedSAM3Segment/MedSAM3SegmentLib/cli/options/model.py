"""The shell's options for which model to load, and how."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.request import NO_MODEL, PICK_ADAPTER

if TYPE_CHECKING:
    from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True)
class ModelSection:
    """Which model to load and how, as ``models.loading.load_model`` takes it."""

    source: str = "demo"
    device: str = "auto"
    dtype: str = "auto"
    resolution: int | None = None

    @property
    def is_none(self) -> bool:
        """Whether no model is wanted: only what was drawn is filled in between."""
        return self.source == NO_MODEL

    @property
    def is_picked(self) -> bool:
        """Whether an adapter is chosen for each volume."""
        return self.source == PICK_ADAPTER

    def check(self) -> None:
        """Find out, before anything large is read, whether the model and where it is to run are there.

        Raises:
            InputError: the device or the number format is not there.
            ModelError: the model is not.
        """
        from MedSAM3SegmentLib.model_store.resolve import resolve
        from MedSAM3SegmentLib.models.devices import choose_device, choose_dtype

        choose_dtype(self.dtype, choose_device(self.device))
        if not self.is_picked:
            resolve(self.source)

    def for_volume(self, volume: Volume, concepts: Sequence[str], say: Callable[[str], None]) -> ModelSection:
        """The same with the adapter that fits a volume, where that is to be picked.

        Args:
            say: told which and why.

        Raises:
            ModelError: none fits.
        """
        if not self.is_picked:
            return self
        from MedSAM3SegmentLib.features.pick_adapter import pick_adapter, require_adapter

        choice = pick_adapter(volume, concepts, self.device)
        source = require_adapter(choice)
        say(choice.sentence)
        return replace(self, source=source)

    @classmethod
    def of(cls, options: argparse.Namespace) -> ModelSection:
        """What was chosen with ``add_model_options``."""
        return cls(options.model, options.device, options.dtype, options.resolution)


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "--threads",
        metavar="N",
        type=positive_number,
        help="CPU threads to compute with (default: what suits the model and the machine; OMP_NUM_THREADS counts too)",
    )


def positive_number(text: str) -> int:
    """A whole number above 0, for argparse."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number above 0")
    return int(text)


def add_model_options(
    parser: argparse.ArgumentParser, *, may_be_none: bool = False, may_be_picked: bool = False
) -> None:
    """Add ``--model``, ``--device``, ``--dtype``, ``--resolution`` and ``--threads``.

    Args:
        may_be_none: whether there is something to do without a model, which help then says.
        may_be_picked: whether an adapter can be chosen for the volume, which help then says.
    """
    without = (
        f"; '{NO_MODEL}' fills between the slices of --mask, or of --example in INPUT, without one"
        if may_be_none
        else ""
    )
    picked = f"; '{PICK_ADAPTER}' takes the installed adapter that fits the volume" if may_be_picked else ""
    parser.add_argument(
        "--model",
        metavar="demo|FOLDER|HUB_ID",
        default="demo",
        help="model to use: a folder or file, a name that 'medsam3 models list' shows, or BASE+ADAPTER "
        f"(default: demo, a small one trained on synthetic pictures){without}{picked}",
    )
    parser.add_argument("--device", metavar="auto|cuda|mps|cpu", default="auto", help="where to run (default: auto)")
    parser.add_argument(
        "--dtype",
        metavar="auto|float32|bfloat16|float16",
        default="auto",
        help="number format to compute in (default: bfloat16 where the processor multiplies in it, on CPUs "
        "for large models only; else float32)",
    )
    parser.add_argument(
        "--resolution",
        metavar="PIXELS",
        type=int,
        help="edge of the model's square input; less is faster and takes less memory (default: the model's own)",
    )
    add_threads_option(parser)
