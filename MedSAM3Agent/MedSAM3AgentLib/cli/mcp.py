"""``medsam3 mcp``: the same closed set of tools for a desktop assistant, by the Model Context Protocol on stdin."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSAM3SegmentLib.cli.options.model import ModelSection, add_model_options
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.errors import InputError

if TYPE_CHECKING:
    from MedSAM3AgentLib.cli.file_tools import FileTools

_EPILOG = """\
Needs the optional package: pip install 'medsam3-slicer[mcp]'.

A desktop assistant may send on what the tools answer: names of segments, volumes, and, with --allow-pictures, pictures
drawn from voxels. Give folders whose content may go there.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``mcp`` to the shell's commands."""
    parser = subparsers.add_parser(
        "mcp",
        help="offer segment, ask, edit, measure and pages to a desktop assistant",
        description="Serve the Model Context Protocol on standard input and output, for files inside folders.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **common,  # type: ignore[arg-type]
    )
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="folders that files may be in")
    parser.add_argument("--allow-pictures", action="store_true", help="also give out pages drawn from voxels")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 mcp`` was asked to; it ends with its input."""
    del terminal, interruption
    missing = next((folder for folder in options.folders if not folder.is_dir()), None)
    if missing is not None:
        raise InputError("The folder {folder} does not exist; make it or choose another place.", folder=missing)
    section = ModelSection.of(options)
    section.check()
    from MedSAM3AgentLib.cli.file_tools import FileTools
    from MedSAM3SegmentLib.segmenter import Segmenter

    segmenter = Segmenter.load(section.source, section.device, section.dtype, section.resolution)
    assistant_server(FileTools(options.folders, segmenter, options.allow_pictures)).run()


def assistant_server(tools: FileTools) -> Any:
    """The server with the tools and nothing else.

    Raises:
        InputError: the package ``mcp`` is not installed.
    """
    try:
        from mcp.server.mcpserver import Image, MCPServer
    except ImportError:
        raise InputError("The package mcp is not installed; pip install 'medsam3-slicer[mcp]'.") from None
    server = MCPServer("medsam3", instructions="Segments medical images for research. Answers are no diagnosis.")
    for tool in (tools.segment, tools.ask, tools.edit, tools.measure):
        server.add_tool(tool)
    if tools.gives_pictures:

        def show_page(image: str, segmentation: str, segment: str = "") -> Any:
            """A picture of a segment's contour on the slices that decide."""
            return Image(data=tools.show_page(image, segmentation, segment), format="png")

        server.add_tool(show_page)
    return server
