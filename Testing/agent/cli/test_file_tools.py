"""A desktop assistant's tools: only files inside of the folders, nothing overwritten, pictures only where allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import SimpleITK

from MedSAM3AgentLib.cli.file_tools import FileTools
from MedSAM3AgentLib.cli.mcp import assistant_server
from MedSAM3SegmentLib.errors import InputError
from support.images import image_on_grid
from support.scripted_segmenter import ScriptedSegmenter, abdomen

VOLUME, MASKS = abdomen()


@pytest.fixture
def tools(tmp_path: Path) -> FileTools:
    folder = tmp_path / "given"
    folder.mkdir()
    for name in (folder / "ct.nii.gz", tmp_path / "secret.nii.gz"):
        SimpleITK.WriteImage(image_on_grid(VOLUME.array, VOLUME.grid), str(name))
    (folder / "link.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    answers = dict.fromkeys(("liver", "hepatic tissue", "liver tissue"), MASKS["liver"])
    return FileTools([folder], ScriptedSegmenter(answers))


def test_a_session_of_an_assistant(tools: FileTools, tmp_path: Path) -> None:
    assert "accepted" in tools.segment("ct.nii.gz", ["liver"], "liver.seg.nrrd")
    size = tools.measure("liver.seg.nrrd")
    assert size.startswith("liver: ")
    tools.edit("liver.seg.nrrd", "shrink 5 mm", "smaller.seg.nrrd")
    assert tools.measure("smaller.seg.nrrd") != size
    with pytest.raises(InputError, match="--allow-pictures"):
        tools.show_page("ct.nii.gz", "liver.seg.nrrd")
    shown = FileTools(tools.folders, tools.segmenter, gives_pictures=True).show_page("ct.nii.gz", "liver.seg.nrrd")
    assert shown.startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.seg.nrrd"))


@pytest.mark.parametrize("path", ["../secret.nii.gz", "link.nii.gz", "/etc/passwd", "", "a\0b", "x" * 2000])
def test_nothing_outside_of_the_folders_is_read_or_written(tools: FileTools, path: str) -> None:
    for call in (
        lambda: tools.ask(path, "liver", "o.seg.nrrd"),
        lambda: tools.ask("ct.nii.gz", "liver", path),
        lambda: tools.measure(path),
        lambda: tools.edit(path, "shrink 2 mm", "o.seg.nrrd"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "secret" not in str(caught.value)


def test_nothing_is_overwritten(tools: FileTools) -> None:
    tools.ask("ct.nii.gz", "liver", "liver.seg.nrrd")
    with pytest.raises(InputError, match="overwritten"):
        tools.ask("ct.nii.gz", "liver", "liver.seg.nrrd")


def test_the_protocol_offers_these_tools_and_no_others(tools: FileTools) -> None:
    pytest.importorskip("mcp", reason="the optional package mcp is not installed")
    server = assistant_server(tools)
    names = {tool.name for tool in asyncio.run(server.list_tools())}
    assert names == {"segment", "ask", "edit", "measure"}
    allowed = assistant_server(FileTools(tools.folders, tools.segmenter, gives_pictures=True))
    assert {tool.name for tool in asyncio.run(allowed.list_tools())} == names | {"show_page"}
