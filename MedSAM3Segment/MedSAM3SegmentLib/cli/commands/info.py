"""``medsam3 info``: what is installed, where it can run, and which models are at hand."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.cli.token import given_token
from MedSAM3SegmentLib.errors import EngineError, InputError, ModelError

if TYPE_CHECKING:
    from rich.table import Table


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``info`` to the shell's commands."""
    parser = subparsers.add_parser(
        "info",
        help="say what is installed, where it can run and which models are at hand",
        description="Say what is installed, where it can run, which models are at hand, and what engines hold.",
        **common,  # type: ignore[arg-type]
    )
    parser.add_argument(
        "--engine",
        default="",
        metavar="ADDRESS",
        help="ask this engine, whose token the environment variable MEDSAM3_ENGINE_TOKEN or --token-file has, in place "
        "of those of this user on this machine",
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with the token, readable by you only")
    parser.add_argument(
        "--certificate", default="", metavar="FILE", help="PEM file of its certificate, if no authority signed it"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 info`` was asked to."""
    del interruption
    terminal.result(_table(_engine_at(options) if options.engine else _engines()))


def _table(engines: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    from MedSAM3SegmentLib.reporting.versions import package_versions

    versions = package_versions()
    facts = {
        "medsam3": versions.pop("medsam3"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "devices": _devices(),
        "demo model": _demo_model(),
        "other models": _installed_models(),
        "vocabulary": _vocabulary(),
        "engine": engines,
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, Text(fact))
    return table


def _devices() -> str:
    """Where a model can run, best first, and what ``auto`` takes."""
    import torch

    from MedSAM3SegmentLib.models.devices import choose_device

    found = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(number)
        found.append(f"cuda:{number}, {properties.name} with {properties.total_memory / 2**30:.0f} GB")
    if torch.backends.mps.is_available():
        found.append("mps, Apple GPU")
    found.append(f"cpu, {os.cpu_count()} cores")
    return f"{'; '.join(found)} (auto takes {choose_device('auto')})"


def _demo_model() -> str:
    from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
    from MedSAM3SegmentLib.resources import resource_path

    try:
        folder = resource_path("demo-model")
        card = ModelCard.load(folder)
    except ModelError as error:
        return str(error)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    return f"{card.name}, {size:.1f} MB, in {folder}. {card.description}"


def _installed_models() -> str:
    from MedSAM3SegmentLib.model_store.store import installed_models, store_folder

    try:
        names = [model.name for model in installed_models()]
    except ModelError as error:
        return str(error)
    return f"{', '.join(names) or 'none'}, in {store_folder()}; 'medsam3 models add' installs more"


def _vocabulary() -> str:
    from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

    return f"{len(Vocabulary.load().concepts)} concepts; any other phrase can be asked for as well"


def _engine_at(options: argparse.Namespace) -> str:
    """What the engine at an address holds.

    Raises:
        InputError: its token is missing, or the address cannot be used.
        EngineError: it does not answer.
    """
    from MedSAM3SegmentLib.engine.client.engine_client import EngineClient

    token = given_token(options.token_file)
    if token is None:
        raise InputError("--engine needs the engine's token; give --token-file or set MEDSAM3_ENGINE_TOKEN.")
    status = EngineClient(options.engine, token, certificate=options.certificate).status()
    return f"at {options.engine}, {status.in_words()}"


def _engines() -> str:
    """The engines of this user that run on this machine, and what each holds."""
    from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
    from MedSAM3SegmentLib.engine.client.http import HttpConnection, knows_token
    from MedSAM3SegmentLib.engine.process.discovery import find_running_engines

    found = []
    try:
        for engine in find_running_engines():
            if knows_token(HttpConnection(engine.address, engine.token)):
                found.append(f"at {engine.address}, {EngineClient(engine.address, engine.token).status().in_words()}")
    except (EngineError, InputError) as error:
        return str(error)
    return "; ".join(found) or "none runs; 3D Slicer starts one when it needs it, and so does 'medsam3 serve'"
