"""``medsam3 ask`` and ``medsam3 edit`` as a shell runs them, on a small volume with a tiny model."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MedSAM3AgentLib.backends import server as server_module
from MedSAM3AgentLib.backends.server import ServerBackend
from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.cli_runs import Shell, files_in, here, image  # noqa: F401  fixtures
from support.language_server import Answer, language_server, said
from support.paths import ROOT


@pytest.fixture
def ask(image: Path, here: Path, tiny_model_folder: Path) -> Shell:  # noqa: F811
    """``medsam3 ask`` with the tiny model, which sees everything everywhere."""

    assert Path.cwd() == here

    def run(text: str, *words: str) -> int:
        options = ["--model", str(tiny_model_folder), "--threshold", "0.4", "--output", "out.seg.nrrd"]
        return main(["ask", str(image), text, *options, *words])

    return run


def test_ask_writes_segments_report_rounds_and_transcript(ask: Shell, here: Path) -> None:  # noqa: F811
    assert ask("the gadget", "--report", "r.html", "--rounds-folder", "rounds", "--transcript", "t.jsonl") == 0

    assert set(files_in(here)) == {
        "out.seg.nrrd", "r.html", "rounds", "rounds/round-1.png", "rounds/round-1.seg.nrrd", "t.jsonl",
    }  # fmt: skip
    segments, _ = read_segmentation(here / "out.seg.nrrd")
    assert [one.name for one in segments] == ["gadget"]
    assert json.loads(segments[0].tags[PROVENANCE_TAG])["agent"]["stop"] == "nothing new to try"
    page = (here / "r.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert 'src="http' not in page
    assert "<script" not in page


def test_a_cap_that_is_reached_is_named_and_the_result_is_written(
    ask: Shell,
    here: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    with language_server(lambda *_: Answer(said('{"verdict": "reject", "color": "red"}'))) as server:
        words = ["--language", f"{server.address}#m", "--price", "1,2", "--money", "0.5", "--transcript", "t.jsonl"]
        assert ask("gadget", *words) == 0
    assert "What may be spent" in capsys.readouterr().out
    assert (here / "out.seg.nrrd").exists()
    lines = [json.loads(line) for line in (here / "t.jsonl").read_text().splitlines()]
    assert lines[-1]["stop"] == "money used up"
    assert ask("gadget", "--replay", "t.jsonl") == 0


def test_words_of_the_request_are_text_in_the_report(ask: Shell, here: Path) -> None:  # noqa: F811
    assert ask("<script>alert(1)</script> gadget", "--report", "r.html") in (0, 2)
    if (here / "r.html").exists():
        assert "<script>alert" not in (here / "r.html").read_text(encoding="utf-8")


def test_ask_with_a_server_and_its_replay(ask: Shell, here: Path) -> None:  # noqa: F811
    with language_server(lambda *_: Answer(said('{"verdict": "accept", "color": "red"}'))) as server:
        assert ask("gadget", "--language", f"{server.address}#m", "--transcript", "t.jsonl") == 0
    first = (here / "out.seg.nrrd").read_bytes()
    assert json.loads((here / "t.jsonl").read_text().splitlines()[1])["question"] == "verdict"
    assert ask("gadget", "--replay", "t.jsonl", "--transcript", "again.jsonl") == 0
    masks = [read_segmentation(here / "out.seg.nrrd")[0][0].mask]
    (here / "first.seg.nrrd").write_bytes(first)
    assert np.array_equal(masks[0], read_segmentation(here / "first.seg.nrrd")[0][0].mask)
    assert ask("another", "--replay", "t.jsonl") == 2


class Typed(io.StringIO):
    """What a person types at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_a_person_at_a_terminal_sees_the_picture_in_a_file_and_is_asked_once(
    ask: Shell,
    here: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    agreed: bool,
) -> None:
    class FarServer(ServerBackend):
        """A server on this machine stands for one elsewhere."""

        @property
        def sends_to(self) -> str:
            return self.host

    monkeypatch.setattr(server_module, "ServerBackend", FarServer)
    monkeypatch.setattr(sys, "stdin", Typed(typed))
    (here / "out-to-be-sent.png").write_bytes(b"mine")
    with language_server(lambda *_: Answer(said('{"verdict": "accept", "color": "red"}'))) as server:
        assert ask("gadget", "--language", f"{server.address}#m") == 0
    pictures = [body for body in server.requests if "Target" in str(body)]
    asked = capsys.readouterr().err
    assert asked.count("[y/N]") == 1
    assert "out-to-be-sent-2.png" in asked
    assert bool(pictures) == agreed
    assert (here / "out-to-be-sent.png").read_bytes() == b"mine"
    assert (here / "out-to-be-sent-2.png").exists() == agreed
    if agreed:
        shown = base64.b64encode((here / "out-to-be-sent-2.png").read_bytes()).decode()
        assert shown in str(pictures[0])
    segments, _ = read_segmentation(here / "out.seg.nrrd")
    assert [one.name for one in segments] == ["gadget"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--language", "https://llm.example.org/v1#m"], 2),
        (["--language", "http://llm.example.org/v1#m"], 2),
        (["--language", "gpt"], 2),
        (["--language", "http://127.0.0.1:9/v1#m"], 4),
        (["--language", "local:nowhere"], 3),
        (["--rounds", "9"], 2),
        (["--money", "1"], 2),
        (["--price", "cheap"], 2),
        (["--seconds", "0"], 2),
        (["--pictures", "-1"], 2),
        (["--report", "r.txt"], 2),
        (["--replay", "none.jsonl"], 2),
    ],
)
def test_what_cannot_be_done_writes_nothing(ask: Shell, here: Path, words: list[str], code: int) -> None:  # noqa: F811
    assert ask("gadget", *words) == code
    assert files_in(here) == []


def test_edit_changes_a_segment_and_leaves_the_others(ask: Shell, here: Path) -> None:  # noqa: F811
    assert ask("gadget; widget") == 0
    before, _ = read_segmentation(here / "out.seg.nrrd")
    assert main(["edit", "out.seg.nrrd", "only slices 2 to 4", "--segment", "gadget", "--output", "e.seg.nrrd"]) == 0
    after, _ = read_segmentation(here / "e.seg.nrrd")
    assert after[0].mask.sum() < before[0].mask.sum()
    assert np.array_equal(after[1].mask, before[1].mask)
    assert main(["edit", "out.seg.nrrd", "shrink 2 mm", "--output", "f.seg.nrrd"]) == 2
    assert main(["edit", "out.seg.nrrd", "sing", "--segment", "gadget", "--output", "f.seg.nrrd"]) == 2
    assert not (here / "f.seg.nrrd").exists()


def test_edit_takes_the_segment_that_a_command_names(ask: Shell, here: Path) -> None:  # noqa: F811
    assert ask("gadget; widget") == 0
    before, _ = read_segmentation(here / "out.seg.nrrd")
    names = [segment.name for segment in before]
    text = f"clear the {names[1]}, then how big is it; rename {names[0]} to thing"
    assert main(["edit", "out.seg.nrrd", text, "--output", "e.seg.nrrd"]) == 0
    after, _ = read_segmentation(here / "e.seg.nrrd")
    assert [segment.name for segment in after] == ["thing", names[1]]
    assert np.array_equal(after[0].mask, before[0].mask)
    assert not after[1].mask.any()


def test_the_engine_is_imported_without_the_agent_and_the_agent_without_slicer_or_torch() -> None:
    program = (
        "import sys; import MedSAM3SegmentLib.cli.main as m; assert 'MedSAM3AgentLib' not in sys.modules;"
        "m._parser(); assert 'MedSAM3AgentLib.cli.commands' in sys.modules;"
        "assert not {'torch', 'slicer', 'qt', 'vtk', 'requests'} & set(sys.modules), sorted(sys.modules)"
    )
    paths = ":".join(str(ROOT / part) for part in ("MedSAM3Segment", "MedSAM3Agent"))
    ran = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
