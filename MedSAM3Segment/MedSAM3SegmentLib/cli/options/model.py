"""The shell's options for which model to load, and how."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.devices import DRAFT, Resolution
from MedSAM3SegmentLib.request import NO_MODEL, PICK_ADAPTER

if TYPE_CHECKING:
    from MedSAM3SegmentLib.segmenter import Segmenter
    from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True)
class ModelSection:
    """Which model to load and how, as ``models.load_model.load_model`` takes it, or to ask a running engine for it."""

    source: str = "demo"
    device: str = "auto"
    dtype: str = "auto"
    resolution: Resolution | None = None
    use_engine: bool = False
    cuda_graphs: bool = False

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
        if self.use_engine:  # It finds out itself, and what would here takes long to import.
            return
        from MedSAM3SegmentLib.model_store.resolve import resolve
        from MedSAM3SegmentLib.models.devices import check_cuda_graphs, choose_device, choose_dtype

        device = choose_device(self.device)
        choose_dtype(self.dtype, device)
        check_cuda_graphs(self.cuda_graphs, device)
        if not self.is_picked:
            resolve(self.source)

    def load_segmenter(self) -> Segmenter:
        """Load the model in this process.

        Raises:
            InputError, ModelError: it cannot be loaded as wanted.
        """
        from MedSAM3SegmentLib.segmenter import Segmenter

        return Segmenter.load(self.source, self.device, self.dtype, self.resolution, self.cuda_graphs)

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
        if options.draft and options.resolution:
            raise InputError("--draft is a resolution of its own; leave it or --resolution out.")
        use_engine = getattr(options, "engine", None) is not None
        if use_engine and options.model == NO_MODEL:
            raise InputError(f"--model {NO_MODEL} needs no engine; leave --engine out.")
        fixed = {
            "--dtype": options.dtype != "auto",
            "--resolution": options.resolution,
            "--draft": options.draft,
            "--threads": options.threads,
            "--cuda-graphs": options.cuda_graphs,
        }
        for option in (option for option, given in fixed.items() if use_engine and given):
            raise InputError(f"{option} is chosen where the engine is started; leave it or --engine out.")
        resolution = DRAFT if options.draft else options.resolution
        return cls(options.model, options.device, options.dtype, resolution, use_engine, options.cuda_graphs)


def add_engine_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine``."""
    parser.add_argument(
        "--engine",
        choices=["auto"],
        help="auto: use the engine of this user that runs on this machine, 3D Slicer's or one started with 'medsam3 "
        "serve', which keeps the model between commands; without one the model is loaded here as always",
    )


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
    """Add ``--model``, ``--device``, ``--dtype``, ``--resolution``, ``--draft``, ``--cuda-graphs`` and ``--threads``.

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
    parser.add_argument(
        "--draft",
        action="store_true",
        help="look at half of the model's own resolution (504 in place of 1008 pixels), to see quickly what comes out; "
        "small structures and edges may be lost",
    )
    parser.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="queue the network on a CUDA GPU as recorded graphs, which spares the processor; not measured yet",
    )
    add_threads_option(parser)
