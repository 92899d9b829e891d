"""The shell's options for how a model is trained on."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError

from .model import positive_number

if TYPE_CHECKING:
    from MedSAM3SegmentLib.training.fine_tuning.tuning import LoraOptions

#: Options that only training on a base has, with their defaults.
_DEFAULTS: dict[str, object] = {
    "tune": "all",
    "prompts": "both",
    "rank": 16,
    "alpha": 32.0,
    "targets": None,
    "layer_decay": 0.9,
    "batch_size": 8,
    "accumulate": 1,
    "views": 4,
    "validation": None,
    "save_every": 100,
    "resume": False,
    "checkpoint_activations": False,
    "tensorboard": False,
    "losses": "medsam3-slicer",
    "modality": "",
}


@dataclass(frozen=True)
class FineTuningSection:
    """How a model is trained on.

    Attributes:
        batch_size: slices that go through together.
        accumulate: such parts of a step.
        validation: share of the volumes, or another manifest; None for none.
    """

    tune: str
    prompts: str
    rank: int
    alpha: float
    targets: str | None
    layer_decay: float
    batch_size: int
    accumulate: int
    views: int
    validation: float | Path | None
    save_every: int
    resume: bool
    checkpoint_activations: bool
    tensorboard: bool
    losses: str
    modality: str

    @classmethod
    def of(cls, options: argparse.Namespace) -> FineTuningSection:
        """What was chosen with ``add_fine_tuning_options``.

        Raises:
            InputError: an option has no base to go with, or a value that cannot be.
        """
        given = {name: getattr(options, name) for name in _DEFAULTS if getattr(options, name) is not None}
        if options.base is None and options.phantoms is None and options.manifest is None:
            given.pop("resume", None)  # The demo model's recipe can go on after a break, too.
        if given and (options.base is None or options.tracker):
            option = "--" + next(iter(given)).replace("_", "-")
            raise InputError(f"{option} is for a model that is trained on; name it with --base, without --tracker.")
        values = {**_DEFAULTS, **given}
        values["validation"] = _validation(values["validation"])
        section = cls(**values)  # type: ignore[arg-type]
        if section.tensorboard:
            from MedSAM3SegmentLib.training.fine_tuning.tensorboard_log import check_tensorboard

            check_tensorboard()
        if not 0 < section.layer_decay <= 1:
            raise InputError(f"The layer decay {section.layer_decay:g} is not above 0 and at most 1.")
        if section.tune != "lora":
            for name in ("rank", "alpha", "targets"):
                if name in given:
                    raise InputError(f"--{name} is for LoRA; add --tune lora, or leave it out.")
        else:
            _ = section.lora  # Refuses what cannot be.
        if "layer_decay" in given and section.tune != "all":
            raise InputError("--layer-decay is for --tune all; leave it out.")
        if "views" in given and section.tune not in ("detector", "slice-adapter"):
            raise InputError("--views is for --tune detector and slice-adapter; leave it out.")
        return section

    @property
    def lora(self) -> LoraOptions:
        """The size of low-rank changes.

        Raises:
            InputError: it cannot be.
        """
        from MedSAM3SegmentLib.training.fine_tuning.tuning import LORA_TARGETS, LoraOptions

        targets = tuple(name.strip() for name in (self.targets or ",".join(LORA_TARGETS)).split(","))
        return LoraOptions(self.rank, self.alpha, targets)


def add_fine_tuning_options(parser: argparse.ArgumentParser) -> None:
    """Add what goes with ``--base``; options that are not given are None."""
    group = parser.add_argument_group("training on a base")
    group.add_argument(
        "--tune",
        choices=("detector", "lora", "slice-adapter", "all"),
        help="detector: encoders stay, their features are computed once (MedSAM-3's paper), writes an adapter; lora: "
        "low-rank changes (MedSAM-3's release), writes an adapter; slice-adapter: as detector, with a "
        "small module that looks at neighboring slices (MA-SAM), writes an adapter; all: every weight, writes a whole "
        "model (default)",
    )
    group.add_argument(
        "--prompts",
        choices=("T", "T+I", "both"),
        help="what it learns to be asked with: words, words with a box, or both (default)",
    )
    group.add_argument("--rank", metavar="N", type=positive_number, help="of LoRA (default: 16)")
    group.add_argument("--alpha", metavar="A", type=float, help="of LoRA (default: 32)")
    group.add_argument(
        "--targets",
        metavar="PARTS",
        help="parts that LoRA changes, of vision,text,encoder,decoder,geometry,mask,scoring (default: all of these, as "
        "published)",
    )
    group.add_argument(
        "--layer-decay",
        metavar="F",
        type=float,
        help="of the rate from layer to layer with --tune all (default: 0.9)",
    )
    group.add_argument("--batch-size", metavar="N", type=positive_number, help="slices at a time (default: 8)")
    group.add_argument(
        "--accumulate", metavar="N", type=positive_number, help="batches that make one step (default: 1)"
    )
    group.add_argument(
        "--views",
        metavar="N",
        type=positive_number,
        help="ways that each slice is moved, encoded once each, with --tune detector and slice-adapter (default: 4)",
    )
    group.add_argument(
        "--validation",
        metavar="SHARE|FILE.json",
        help="share of the volumes (such as 0.2) or another manifest, by which the best state is chosen",
    )
    group.add_argument(
        "--save-every", metavar="N", type=positive_number, help="steps between snapshots and validations (default: 100)"
    )
    group.add_argument(
        "--resume",
        action="store_true",
        default=None,
        help="go on with a training that was broken off",
    )
    group.add_argument(
        "--checkpoint-activations",
        action="store_true",
        default=None,
        help="need less memory for pictures: compute layers again on the way back, with the same gradients, in about "
        "half more time",
    )
    group.add_argument(
        "--tensorboard",
        action="store_true",
        default=None,
        help="write the learning curve for TensorBoard too, into OUTPUT.tensorboard (needs the package tensorboard)",
    )
    group.add_argument(
        "--losses",
        choices=("medsam3-slicer", "meta"),
        help="medsam3-slicer: this program's (default); meta: focal, IoU-aware, one-to-many and auxiliary losses as "
        "SAM 3 was trained with",
    )
    group.add_argument("--modality", metavar="TEXT", help="what pictures these are, for the card, such as 'CT'")


def _validation(given: object) -> float | Path | None:
    if given is None:
        return None
    try:
        share = float(str(given))
    except ValueError:
        path = Path(str(given))
        if not path.is_file():
            raise InputError(
                f"The manifest {path} for validation does not exist; give a file or a share such as 0.2."
            ) from None
        return path
    if not (math.isfinite(share) and 0 < share < 1):
        raise InputError(f"The share {given} for validation is not between 0 and 1; give one such as 0.2.")
    return share
