"""``medsam3 serve``: the engine as a service, for 3D Slicer on this machine or another."""

from __future__ import annotations

import argparse
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.options.model import add_threads_option
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal, flush_results
from MedSAM3SegmentLib.cli.token import given_token
from MedSAM3SegmentLib.errors import InputError

if TYPE_CHECKING:
    from MedSAM3SegmentLib.engine.process_id import ParentWatch
    from MedSAM3SegmentLib.engine.server.server import Binding, EngineServer

_EPILOG = """\
examples:
  medsam3 serve
  medsam3 serve --host 0.0.0.0 --name gpu.example.org --port 8765 --tls-certificate cert.pem --tls-key key.pem
  medsam3 serve --port 8765 --name gpu.example.org  # for a reverse proxy on this machine that does TLS

The token comes from the environment variable MEDSAM3_ENGINE_TOKEN or --token-file; without either a new one is made and
printed. Give address and token to the panel in 3D Slicer (Set-up), and the certificate too if no well-known authority
signed it. --name is what clients call the machine by. A proxy must let volumes through (nginx: client_max_body_size 0).
Ctrl-C ends the engine and its jobs.
"""

#: Seconds between two looks at whether the service is still wanted.
_POLL_INTERVAL_S = 0.5

#: What a machine is called by: no scheme, no port, and no ``*``, which would let in every name.
_NAME = re.compile(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``serve`` to the shell's commands."""
    parser = subparsers.add_parser(
        "serve",
        help="run the engine as a service for 3D Slicer",
        description="Run the engine as a service, which keeps models, volumes and features between jobs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **common,  # type: ignore[arg-type]
    )
    where = parser.add_argument_group("where it listens")
    where.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s: this machine only)")
    where.add_argument("--port", type=int, default=0, help="port to listen at (any that is free)")
    where.add_argument(
        "--name", action="append", default=[], help="a name that clients call this machine by; repeat it"
    )
    where.add_argument("--tls-certificate", default="", metavar="FILE", help="PEM file of the certificate")
    where.add_argument("--tls-key", default="", metavar="FILE", help="PEM file of its key")
    where.add_argument(
        "--behind-proxy", action="store_true", help="a reverse proxy in front of the engine does TLS; trust the network"
    )
    where.add_argument("--token-file", type=Path, metavar="FILE", help="file with the token, readable by you only")
    keep = parser.add_argument_group("what it keeps, at most, in GB")
    keep.add_argument("--volume-budget", type=float, default=4.0, metavar="GB", help="volumes (%(default)s)")
    keep.add_argument(
        "--feature-budget",
        type=float,
        default=6.0,
        metavar="GB",
        help="features, each in RAM and on the GPU (%(default)s)",
    )
    keep.add_argument("--model-budget", type=float, default=6.0, metavar="GB", help="weights of models (%(default)s)")
    add_threads_option(parser)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 serve`` was asked to."""
    from MedSAM3SegmentLib.engine.process.discovery import announce_engine
    from MedSAM3SegmentLib.engine.process_id import ParentWatch, ProcessId
    from MedSAM3SegmentLib.engine.server.model_cache import FeatureCaches, ModelCache, load_segmenter
    from MedSAM3SegmentLib.engine.server.server import EngineServer
    from MedSAM3SegmentLib.engine.server.volume_store import VolumeStore
    from MedSAM3SegmentLib.model_store.resolve import files_version
    from MedSAM3SegmentLib.models.abilities import check_abilities

    binding = _binding(options)
    given = given_token(options.token_file)
    token = given or secrets.token_urlsafe(32)
    features = _bytes(options.feature_budget, "--feature-budget")
    models = _bytes(options.model_budget, "--model-budget")
    shelf = ModelCache(load_segmenter, models, FeatureCaches(features, features), check_abilities, files_version)
    store = VolumeStore(_bytes(options.volume_budget, "--volume-budget"))
    parents = ParentWatch(None if options.parent is None else ProcessId.of(options.parent))
    with _logging_without_details(options.verbose):
        try:
            engine = EngineServer(binding, token, shelf, store, parents)
        except InputError:
            store.close()
            raise
        engine.start()
        try:
            with announce_engine(engine.address, token) if binding.is_loopback else nullcontext():
                terminal.result(f"The engine listens at {_told_address(engine.address, binding)}")
                if given is None:
                    terminal.result(f"Its token is {token}")
                _wait(engine, parents, interruption)
        finally:
            ended = engine.stop()
    if not ended or options.parent is not None:
        # All is tidied up. A long step of the model must not keep the process and its GPU memory alive, and Slicer must
        # not wait for Python to take torch apart.
        flush_results()
        os._exit(0)


def _told_address(address: str, binding: Binding) -> str:
    """The address to give to clients: by name, where the engine has one that its certificate is made for."""
    if binding.is_loopback or not binding.certificate or not binding.names:
        return address
    return f"https://{binding.names[0]}:{address.rpartition(':')[2]}"


def _wait(engine: EngineServer, parents: ParentWatch, interruption: Interruption) -> None:
    """Until it is told to end, by Ctrl-C or a client, or until the last process it was started for has ended."""
    with interruption.gently() as wants_to_end:
        while not engine.ended.wait(_POLL_INTERVAL_S) and not wants_to_end() and not parents.are_gone:
            pass


def _binding(options: argparse.Namespace) -> Binding:
    """Where to listen.

    Raises:
        InputError: that would not be safe.
    """
    from MedSAM3SegmentLib.engine.server.server import Binding

    if bool(options.tls_certificate) != bool(options.tls_key):
        raise InputError("TLS needs both --tls-certificate and --tls-key; give the other one too.")
    for file in filter(None, (options.tls_certificate, options.tls_key)):
        if not Path(file).is_file():
            raise InputError(f"The file {file} does not exist; give the PEM files of the certificate and its key.")
    for name in options.name:
        if not _NAME.fullmatch(name):
            raise InputError(f"'{name}' is no --name of a machine; give one such as gpu.example.org, without a port.")
    binding = Binding(options.host, options.port, options.tls_certificate, options.tls_key, tuple(options.name))
    if not binding.is_loopback and not options.tls_certificate and not options.behind_proxy:
        raise InputError(
            f"Listening at {options.host} would send images in the clear; give --tls-certificate and --tls-key, or "
            "--behind-proxy if a reverse proxy does TLS."
        )
    if binding.is_everywhere and not options.name:
        raise InputError(f"Listening at {options.host} needs --name, the name that clients call this machine by.")
    return binding


def _bytes(gigabytes: float, option: str) -> int:
    if not 0 < gigabytes < 1e6:
        raise InputError(f"{option} must be more than 0 GB, not {gigabytes:g}.")
    return int(gigabytes * 1e9)


class _NoDetails(logging.Formatter):
    """Says that something went wrong and of what type; messages of errors may hold what a user typed."""

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        return getattr(ei[0], "__name__", "an error") if isinstance(ei, tuple) else "an error"


@contextmanager
def _logging_without_details(verbose: bool) -> Iterator[None]:
    """Log what the service does, until the end of the block: jobs by number, never by name, phrase or token."""
    handler = logging.StreamHandler()
    handler.setFormatter(_NoDetails("%(asctime)s %(levelname)s %(message)s"))
    own = logging.getLogger("MedSAM3SegmentLib.engine")
    others = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "asyncio")]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in (own, *others)]
    hook = threading.excepthook
    for logger in (own, *others):
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.ERROR)
    own.setLevel(logging.DEBUG if verbose else logging.INFO)

    def say_type(args: threading.ExceptHookArgs) -> None:
        own.error("a thread ended: %s", args.exc_type.__name__)

    threading.excepthook = say_type
    try:
        yield
    finally:
        threading.excepthook = hook
        for logger, handlers, level, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
