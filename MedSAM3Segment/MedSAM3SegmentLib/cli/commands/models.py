"""``medsam3 models``: install, convert, check and remove models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from MedSAM3SegmentLib.model_store.install import Installation

_EPILOG = """\
examples:
  medsam3 models list
  medsam3 models add sam3                         # asks first; needs access granted by Meta
  medsam3 models add ~/Downloads/sam3 --name sam3 # from a folder, without a network
  medsam3 models add best_lora_weights.pt --base sam3 --name medsam3-v1
  medsam3 models convert sam3+medsam3-v1 medsam3-merged --dtype bfloat16
  medsam3 models verify medsam3-v1

Access to gated models is asked for on the model's page. Sign in with 'hf auth login' or put a token into HF_TOKEN;
HTTPS_PROXY is honoured; MEDSAM3_MODELS moves the folder that models are installed in.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``models`` to the shell's commands."""
    parser = subparsers.add_parser(
        "models",
        help="install, convert, check and remove models",
        description="Install, convert, check and remove models.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # The common options belong to the actions alone: given to both, the actions' defaults would undo them.
        **{name: value for name, value in common.items() if name != "parents"},  # type: ignore[arg-type]
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="say what is installed and what can be", **common)  # type: ignore[arg-type]
    listing.set_defaults(run=_list)

    adding = actions.add_parser("add", help="install a model from a path or the hub", **common)  # type: ignore[arg-type]
    adding.add_argument("source", metavar="PATH|HUB_ID", help="a model folder, a weight file, a hub id or a known name")
    adding.add_argument("--name", help="to install it under")
    adding.add_argument("--base", help="for an adapter, the model it goes on top of")
    adding.add_argument("--yes", action="store_true", help="accept the licence and the size without being asked")
    adding.set_defaults(run=_add)

    converting = actions.add_parser("convert", help="write any model as one safetensors folder", **common)  # type: ignore[arg-type]
    converting.add_argument("source", metavar="MODEL", help="as --model takes it; BASE+ADAPTER merges the adapter")
    converting.add_argument("output", metavar="FOLDER", type=Path)
    converting.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    converting.set_defaults(run=_convert)

    verifying = actions.add_parser("verify", help="compare hashes, or numbers with a reference set", **common)  # type: ignore[arg-type]
    verifying.add_argument("source", metavar="MODEL|FOLDER", help="a model, or a folder with reference cases")
    verifying.set_defaults(run=_verify)

    removing = actions.add_parser("remove", help="delete an installed model", **common)  # type: ignore[arg-type]
    removing.add_argument("name", metavar="NAME")
    removing.add_argument("--yes", action="store_true", help="do not ask")
    removing.set_defaults(run=_remove)


def _list(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del options, interruption
    from MedSAM3SegmentLib.model_store.catalog import known_models
    from MedSAM3SegmentLib.model_store.store import installed_models, store_folder

    installed = installed_models()
    table = _new_table("NAME", "SIZE", "SHA-256", "LICENCE", "BASE", "WHERE")
    for model in installed:
        weights = next((digest for name, digest in model.sha256.items() if not name.endswith((".json", ".txt"))), "")
        size = format_bytes(model.size)
        table.add_row(
            model.name, size, weights[:16], model.card.licence or "-", model.card.base or "-", str(model.folder)
        )
    if installed:
        terminal.result(table)
    else:
        terminal.result(f"No models are installed in {store_folder()}; the demo model ships with the program.")
    names = {model.name for model in installed}
    table = _new_table("CAN BE ADDED", "HUB ID", "LICENCE", "WHAT IT IS")
    for known in known_models():
        if known.name not in names:
            search_region = " (access on request)" if known.gated else ""
            table.add_row(known.name, known.hub_id, known.card.licence + search_region, known.card.description)
    terminal.result(table)


def _add(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del interruption  # Ctrl-C ends a download at once; it can be taken up again.
    from MedSAM3SegmentLib.model_store.install import install, plan
    from MedSAM3SegmentLib.model_store.store import check_new_name

    with terminal.busy("Looking"):
        installation = plan(options.source, options.name, options.base)
    check_new_name(installation.name)
    _show(installation, terminal)
    if installation.hub and not options.yes and not _agreed(_question(installation)):
        raise Cancelled("Nothing was installed.")
    with terminal.progress() as show:
        arrived = 0

        def count(file: str, size: int) -> None:
            nonlocal arrived
            arrived += size
            show(file, arrived // 10**6, installation.size // 10**6, "MB")

        folder = install(installation, progress=count)
    terminal.result(f"Installed as '{installation.name}' in {folder}; use it with --model {installation.name}.")


def _question(installation: Installation) -> str:
    """Names license and size again, for those who see nothing else."""
    licence = installation.card.licence or "a licence that is not stated"
    return f"Download {format_bytes(installation.size)} under {licence}? [y/N] "


def _show(installation: Installation, terminal: Terminal) -> None:
    card = installation.card
    where = f" ({installation.licence_url})" if installation.licence_url else ""
    terminal.result(f"{installation.name}: {card.description or 'a model without a description'}")
    terminal.result(f"Licence: {card.licence or 'not stated'}{where}")
    terminal.result(f"Size: {format_bytes(installation.size)}")
    if card.base:
        terminal.result(f"Base: {card.base}")


def _convert(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del interruption
    from MedSAM3SegmentLib.models.load_model import load_model
    from MedSAM3SegmentLib.models.save_model import save_model

    if options.output.exists():
        raise InputError(f"{options.output} exists already; choose another folder.")
    with terminal.busy("Converting"):
        save_model(load_model(options.source, "cpu", dtype=options.dtype), options.output)
    terminal.result(f"Written to {options.output}.")


def _verify(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del interruption
    from MedSAM3SegmentLib.models.reference_check import CASES

    if (Path(options.source).expanduser() / CASES).is_file():
        _verify_numbers(Path(options.source).expanduser(), terminal)
        return
    from MedSAM3SegmentLib.model_store.resolve import resolve
    from MedSAM3SegmentLib.models.load_model import load_model

    base, adapters = resolve(options.source)
    with terminal.busy("Verifying"):
        model = load_model(options.source, "cpu")
    terminal.result(f"{model.identity.name}: {base.weights}, SHA-256 {model.identity.sha256}")
    for path, identity in zip(adapters, model.identity.adapters, strict=False):
        terminal.result(f"{identity.name}: {path}, SHA-256 {identity.sha256}")
    from MedSAM3SegmentLib.checkpoints.hashing import recorded_checksums

    recorded = recorded_checksums(base.folder) is not None
    terminal.result(
        "All weights are there, fit and are numbers; "
        + ("hashes agree with those recorded." if recorded else "there are no recorded hashes to compare with.")
    )


def _verify_numbers(folder: Path, terminal: Terminal) -> None:
    """The largest differences in every case of a reference set, with and without its adapter."""
    from MedSAM3SegmentLib.models.reference_check import TOLERANCES, Difference, reference_differences

    beyond: list[Difference] = []
    with terminal.busy("Comparing"):
        for kind, differences in reference_differences(folder).items():
            for case in dict.fromkeys(difference.case for difference in differences):
                found = [item for item in differences if item.case == case]
                numbers = ", ".join(f"{item.output} {item.largest:.1e}" for item in found)
                terminal.result(f"{case}, {kind}: {numbers}")
            beyond += [difference for difference in differences if not difference.within]
    if beyond:
        worst = beyond[0]
        raise ModelError(
            f"The reference set {folder} is not reproduced: {worst.output} of {worst.case} differs by "
            f"{worst.largest:.1e} where {TOLERANCES[worst.output]:.0e} is rounding; update this program."
        )
    terminal.result("Every case agrees.")


def _remove(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    del interruption
    from MedSAM3SegmentLib.model_store.store import remove_model, store_folder

    folder = store_folder() / options.name
    if folder.is_dir() and not options.yes and not _agreed(f"Delete {folder}? [y/N] "):
        raise Cancelled("Nothing was removed.")
    terminal.result(f"Removed {remove_model(options.name)}.")


def _agreed(question: str) -> bool:
    """Ask a person; without one the answer is no."""
    if not sys.stdin.isatty():
        raise InputError("There is nobody to ask here; add --yes to agree beforehand.")
    return input(question).strip().lower() in ("y", "yes")


def _new_table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
