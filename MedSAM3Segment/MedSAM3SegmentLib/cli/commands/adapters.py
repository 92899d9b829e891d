"""``medsam3 adapters``: list, install, pick, export and remove adapters."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.options.model import add_threads_option
from MedSAM3SegmentLib.cli.options.volume import add_reading_options
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.units import format_bytes
from MedSAM3SegmentLib.vocabulary.phrases import split_phrases

if TYPE_CHECKING:
    from MedSAM3SegmentLib.checkpoints.model_card import ModelCard

_EPILOG = """\
An adapter is a small folder that 'medsam3 train --tune lora' or '--tune detector' writes. It changes a base while it is
used and leaves it as it is: --model BASE+ADAPTER, or --model ADAPTER alone, since its card names its base.

examples:
  medsam3 adapters add liver-lora
  medsam3 adapters list
  medsam3 segment ct.nii.gz --concept liver --model liver-lora --output liver.seg.nrrd
  medsam3 adapters pick new.nii.gz --concept liver
  medsam3 adapters export liver-lora liver-lora.pt --format medsam3
  medsam3 adapters remove liver-lora

Adapters lie in the folder that models are installed in; MEDSAM3_MODELS moves it.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``adapters`` to the shell's commands."""
    parser = subparsers.add_parser(
        "adapters",
        help="list, install, pick, export and remove adapters",
        description="List, install, pick, export and remove adapters, which are what a model learnt besides.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # The common options belong to the actions alone: given to both, the actions' defaults would undo them.
        **{name: value for name, value in common.items() if name != "parents"},  # type: ignore[arg-type]
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="say which are installed and what they are for", **common)  # type: ignore[arg-type]
    listing.set_defaults(run=_list)

    adding = actions.add_parser("add", help="install an adapter from a folder or a file", **common)  # type: ignore[arg-type]
    adding.add_argument("source", metavar="PATH", type=Path, help="an adapter folder, or MedSAM-3's .pt file")
    adding.add_argument("--name", help="to install it under (default: its own)")
    adding.add_argument("--base", help="the model it goes on top of, where its card does not say")
    adding.set_defaults(run=_add)

    exporting = actions.add_parser("export", help="write an adapter to a folder or a file", **common)  # type: ignore[arg-type]
    exporting.add_argument("source", metavar="ADAPTER", help="an installed one, or an adapter folder")
    exporting.add_argument("output", metavar="PATH", type=Path, help="what to write; it must not exist yet")
    exporting.add_argument(
        "--format",
        choices=("peft", "medsam3"),
        default="peft",
        help="peft: a folder with its card (default); medsam3: one .pt file as MedSAM-3 reads it, low-rank ones alone",
    )
    exporting.set_defaults(run=_export)

    picking = actions.add_parser("pick", help="say which installed adapter fits a volume, and why", **common)  # type: ignore[arg-type]
    picking.add_argument("image", metavar="VOLUME", type=Path, help="as 'medsam3 segment' takes it")
    picking.add_argument(
        "--concept", metavar="TEXT", action="append", default=[], help="what will be segmented; may be repeated"
    )
    add_reading_options(picking)
    picking.add_argument("--device", metavar="auto|cuda|mps|cpu", default="auto", help="where to run (default: auto)")
    add_threads_option(picking)
    picking.set_defaults(run=_pick)

    removing = actions.add_parser("remove", help="delete an installed adapter", **common)  # type: ignore[arg-type]
    removing.add_argument("name", metavar="NAME")
    removing.add_argument(
        "--replay-only",
        action="store_true",
        help="delete the slices alone that 'medsam3 learn' kept of what it learnt; it cannot be continued then",
    )
    removing.set_defaults(run=_remove)


def _list(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del options, interruption
    from MedSAM3SegmentLib.model_store.store import installed_adapters, replay_bytes, store_folder

    installed = installed_adapters()
    if not installed:
        terminal.result(f"No adapters are installed in {store_folder()}; 'medsam3 adapters add FOLDER' installs one.")
    for one in installed:
        kept = replay_bytes(one.name)
        replay = f"; {format_bytes(kept)} of slices it learnt are kept on this computer" if kept else ""
        terminal.result(f"{one.name}: {_describe(one.card)}{replay}")


def _describe(card: ModelCard) -> str:
    """An adapter's card in a line."""
    figures = ", ".join(f"{name} {value:.3g}" for name, value in card.validation.items() if name != "step")
    parts = (
        ("", card.modality),
        ("finds ", ", ".join(card.concepts)),
        ("on ", card.base),
        ("prompts ", " and ".join(card.prompts)),
        ("trained on ", card.data.rstrip(".")),
        ("validation ", figures),
    )
    return "; ".join(f"{lead}{text}" for lead, text in parts if text) or "no card"


def _add(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del interruption
    from MedSAM3SegmentLib.checkpoints.lora import is_adapter
    from MedSAM3SegmentLib.model_store.install import install, plan
    from MedSAM3SegmentLib.model_store.store import check_new_name

    path: Path = options.source.expanduser()
    if not path.exists():
        raise InputError(f"The adapter {path} does not exist; check the path.")
    if not is_adapter(path):
        raise InputError(f"{path} is no adapter; whole models are installed with 'medsam3 models add'.")
    installation = plan(str(path), options.name, options.base)
    check_new_name(installation.name)
    folder = install(installation)
    base = installation.card.base
    use = installation.name if base else f"BASE+{installation.name}"
    terminal.result(f"Installed as '{installation.name}' in {folder}; use it with --model {use}.")


def _export(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del interruption
    from MedSAM3SegmentLib.adapters.adapter_folder import copy_adapter
    from MedSAM3SegmentLib.adapters.medsam3_format import write_medsam3
    from MedSAM3SegmentLib.checkpoints.lora import is_adapter, load_adapter
    from MedSAM3SegmentLib.model_store.resolve import find

    path, output = find(options.source), options.output
    if not is_adapter(path):
        raise InputError(f"{options.source} is no adapter but a whole model; see 'medsam3 adapters list'.")
    if output.exists():
        raise InputError(f"{output} exists already; choose another name.")
    if not output.absolute().parent.is_dir():
        raise InputError(f"The folder {output.parent} does not exist; make it or choose another place.")
    if options.format == "medsam3":
        write_medsam3(load_adapter(path), output)
    elif not path.is_dir():
        raise InputError(f"{path} is a file in MedSAM-3's format; only folders can be written as folders.")
    else:
        if copy_adapter(path, output):
            terminal.note("Its base is a folder of this computer and was left out; name it as --model BASE+ADAPTER.")
    terminal.result(f"Written to {output}.")


def _pick(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del interruption
    from rich.table import Table

    from MedSAM3SegmentLib.features.pick_adapter import pick_adapter
    from MedSAM3SegmentLib.io.read_volume import read_volume

    concepts = [phrase for text in options.concept for phrase in split_phrases(text)]
    volume = read_volume(options.image, options.series, options.modality)
    with terminal.busy("looking at the volume"):
        choice = pick_adapter(volume, concepts, options.device)
    table = Table()
    for heading in ("adapter", "fits", "distance", "why"):
        table.add_column(heading, overflow="fold")
    for fit in choice.fits:
        distance = "" if fit.distance is None else f"{fit.distance:.2f}"
        table.add_row(fit.name, "yes" if fit.fits else "no", distance, str(fit.reason))
    if choice.fits:
        terminal.result(table)
    if choice.adapter is None:
        terminal.result("None fits." if choice.fits else str(choice.sentence))
    else:
        terminal.result(f"Use it with --model {choice.adapter}, or let every run pick with --model pick.")


def _remove(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del interruption
    from MedSAM3SegmentLib.model_store.store import installed_adapters, remove_model, remove_replay

    if options.name not in {one.name for one in installed_adapters()}:
        raise InputError(f"No adapter named '{options.name}' is installed; see 'medsam3 adapters list'.")
    if options.replay_only:
        if not remove_replay(options.name):
            raise InputError(f"No slices are kept of what the adapter '{options.name}' learnt.")
        terminal.result(f"Removed the slices that were kept of what '{options.name}' learnt.")
        return
    terminal.result(f"Removed {remove_model(options.name)}.")
