"""The scripts for a real Slicer: what of them needs none, and the quick ones on the bench."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from support.paths import TESTING

FOLDER = TESTING / "in_slicer"
SCRIPTS = sorted(FOLDER.glob("*.py"))


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def grey(shape=(20, 30)):
    """A picture of noise without a color."""
    return np.random.default_rng(1).integers(0, 256, (*shape, 1)).repeat(3, -1).astype(np.uint8)


def test_every_script_compiles_and_runs_something():
    names = {path.stem for path in SCRIPTS}
    assert names == {
        *(
            "run",
            "tutorial",
            "agent",
            "agent_gaps",
            "agent_life",
            "commands",
            "learn",
            "drawing",
            "visibility",
            "prompts",
            "drawn_slices",
            "oblique",
        ),
        *("gaps", "exits"),
    }
    for path in SCRIPTS:
        code = compile(path.read_text("utf-8"), str(path), "exec")
        assert {"play", "main"} & set(code.co_names), path


@pytest.mark.parametrize("part", [0.3, 0.4, 1.0])
def test_a_color_is_found_alone_and_over_any_grey(part):
    from medsam3_session.colors import colored_pixels

    picture, color = grey(), (0.87, 0.51, 0.40)
    assert colored_pixels(picture, color) == 0
    mixed = part * 255 * np.array(color) + (1 - part) * picture[5:9, 10:17]
    picture[5:9, 10:17] = np.rint(mixed)

    assert colored_pixels(picture, color) == 4 * 7
    assert colored_pixels(picture, (0.2, 0.4, 0.9)) == 0


def test_the_colors_of_the_organs_that_are_asked_for_are_told_apart():
    from medsam3_session.abdomen import ORGANS
    from medsam3_session.colors import colored_pixels

    from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

    colors = [Vocabulary.load().color_for(organ) for organ in ORGANS]
    for number, color in enumerate(colors):
        picture = grey()
        picture[:4] = np.rint(0.4 * 255 * np.array(color) + 0.6 * picture[:4])
        assert [colored_pixels(picture, other) for other in colors] == [
            4 * 30 if other == number else 0 for other in range(len(colors))
        ]


def test_a_grey_cannot_be_looked_for():
    from medsam3_session.colors import colored_pixels

    with pytest.raises(ValueError, match="grey"):
        colored_pixels(grey(), (0.5, 0.5, 0.5))


def test_lines_are_read_back_and_failures_known():
    from medsam3_session.lines import Checks, Line, read_line

    said = []
    checks = Checks(said.append)
    checks.equal("what is there", 3, 3)
    checks.equal("what is not", ["a\nb"], [])
    checks.at_most("how long", 51.2, 50, "ms")
    checks.note("by the way", "1 | 2")

    assert [str(line) for line in said] == [
        "ok     | what is there | 3",
        "FAILED | what is not | ['a\\nb'], not []",
        "FAILED | how long | 51 ms, at most 50",
        "note   | by the way | 1 | 2",
    ]
    assert [read_line(f"{line}\n") for line in said] == said == checks.lines
    assert [line.name for line in checks.failed] == ["what is not", "how long"]
    assert read_line("Switch to module: Data") is None
    assert read_line("ok | no") is None
    assert read_line(str(Line("ok", "empty", ""))) == Line("ok", "empty", "")


def test_lines_of_the_log_are_counted_by_kind_without_slicers_own():
    from medsam3_session.log_kinds import kinds, with_names

    lines = [
        'Switch to module:  "MedSAM3Segment"',
        "ok     | a check | of a script about the liver",
        "",
        "onSegmentAdded: Unable to find subject hierarchy item by segmentation node 'MedSAM3 preview_3'",
        "onSegmentAdded: Unable to find subject hierarchy item by segmentation node 'MedSAM3 preview_14'",
        "Starting new HTTP connection (1): 127.0.0.1:40963",
        "Starting new HTTP connection (2): 127.0.0.1:1",
        "No slice of 'Left Kidney' was drawn",
        "delivered 3 of 5",
    ]

    found = kinds(lines)
    assert sorted(found.values()) == [1, 1, 2, 2]
    assert found["Starting new HTTP connection (#): #.#:#"] == 2
    assert with_names(lines, ["liver", "left kidney"]) == ["No slice of 'Left Kidney' was drawn"]


def test_records_of_the_extension_and_of_what_it_uses_are_heard():
    from medsam3_session.log_kinds import Records

    records = Records()
    root = logging.getLogger()
    level = root.level
    root.addHandler(records)
    root.setLevel(logging.DEBUG)
    try:
        logging.getLogger("urllib3.connectionpool").warning("Retrying %s", "/hello")
        logging.getLogger("somebody.else").error("no")
    finally:
        root.removeHandler(records)
        root.setLevel(level)

    assert records.heard == ["urllib3.connectionpool WARNING: Retrying /hello"]


def test_code_is_timed_from_where_it_is_entered_with_what_it_calls():
    from medsam3_session.stretches import Measured, OwnCode, inside, longer_than, longest

    class Slow:
        def work(self, more):
            time.sleep(0.02)
            more()

    slow, own = Slow(), OwnCode((Slow, "work"))
    own.start()
    slow.work(lambda: sum(range(10)))
    sum(range(100))
    slow.work(lambda: slow.work(int))
    own.stop()
    slow.work(int)

    assert len(own.stretches) == 2
    lengths = [(end - begin) * 1000 for begin, end in own.stretches]
    assert lengths[0] >= 20
    assert 40 <= lengths[1] == longest(own.stretches)
    assert longer_than(own.stretches, 39) == 1
    # It slept.
    assert longest(own.work) < 15
    assert inside((1.0, 2.0), [(0.0, 1.1), (1.5, 1.6), (1.9, 3.0)]) == pytest.approx(300)
    took = Measured(1.0, [], [(0.0, 0.25)], [(0.0, 0.3), (0.5, 0.6)], [(0.0, 0.01)], [(0.0, 0.03), (0.03, 0.035)])
    assert took.own_alone == pytest.approx(100)
    assert took.in_words().startswith("20 ms of processor")


@pytest.mark.parametrize(
    ("texts", "pressed"),
    [
        (("&OK", "Cancel"), 0),
        (("Save", "Exit (discard modifications)", "Cancel exit"), 1),
        (("Cancel", "&Yes", "&No"), 1),
        (("Close scene (discard modifications)", "Save scene", "Cancel"), 0),
        (("Cancel",), None),
    ],
)
def test_questions_are_answered_by_who_goes_on(bench, texts, pressed):
    del bench
    from medsam3_session.dialogs import button_to_press

    assert button_to_press(texts) == pressed


def test_exits_are_counted_by_stage_and_way():
    import run

    made = [
        ("a", run.Run(0, (), "")),
        ("b", run.Run(0, (), "")),
        ("a", run.Run(139, (), "")),
        ("b", run.Run(0, (), "")),
    ]

    assert [str(line) for line in run.count_exits(made)] == [
        "FAILED | exit codes a | [0, 139]",
        "ok     | exit codes b | [0, 0]",
        "FAILED | exits with code 0 | 3 of 4",
    ]


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        ("0", 0, ["ok     | it works | yes", "ok     | oblique ends as it should | exit code 0", "1 | 2"]),
        ("139", 1, ["FAILED | oblique ends as it should | exit code 139"]),
        ("1", 1, ["FAILED | oblique ends as it should | exit code 1"]),
    ],
)
def test_the_driver_starts_each_script_in_a_slicer_and_reads_its_lines(tmp_path, ends, code, said):
    slicer = tmp_path / "Slicer"
    slicer.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        "at = sys.argv.index\n"
        "assert sys.argv[at('--python-script') + 1].endswith('oblique.py')\n"
        "assert sys.argv[at('--model') + 1] == 'fake'\n"
        "assert os.environ['MEDSAM3_RUN']\n"
        "with open(sys.argv[at('--lines') + 1], 'w') as file:\n"
        "    print('ok     | it works | yes', 'note   | besides | 1 | 2', sep='\\n', file=file)\n"
        f"sys.exit({ends})\n"
    )
    slicer.chmod(0o755)

    ran = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), str(slicer), "oblique", "--model", "fake"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.returncode == code, ran.stderr
    for line in said:
        assert line in ran.stdout
    assert ("1 failed" in ran.stdout) is bool(code)


def test_a_slicer_that_does_not_end_is_ended_with_what_it_started(tmp_path):
    import run

    slicer, started = tmp_path / "Slicer", tmp_path / "started"
    slicer.write_text(
        f"#!{sys.executable}\nimport subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(started)!r}, 'w').write(str(child.pid))\nprint('hangs', flush=True)\nchild.wait()\n"
    )
    slicer.chmod(0o755)

    ended = run.start([str(slicer)], "oblique", minutes=3 / 60)

    assert ended.code is None
    assert ended.said == "hangs\n"
    status = Path(f"/proc/{started.read_text()}/stat")
    # What is killed is gone a moment later.
    until = time.monotonic() + 20
    while time.monotonic() < until and status.exists() and status.read_text().split()[2] != "Z":
        time.sleep(0.05)
    assert not status.exists() or status.read_text().split()[2] == "Z"


@pytest.fixture
def session(bench, monkeypatch):
    """A session on the bench, where a script may choose modules as in Slicer."""
    from medsam3_session import views
    from medsam3_session.lines import Checks
    from medsam3_session.session import Session

    from SegmentEditorMedSAM3Lib.registration import register_effect

    opened = {}

    def select(name):
        if name == "MedSAM3Segment" and name not in opened:
            opened[name] = bench.open_panel(name)
        if name == "SegmentEditor" and name not in opened:
            register_effect()
            editor = bench.segment_editor(None, None).widget
            editor.updateEffectList()
            opened[name] = SimpleNamespace(editor=editor)

    monkeypatch.setattr(bench.slicer.util, "selectModule", select)
    monkeypatch.setattr(bench.slicer.util, "getModuleWidget", opened.__getitem__)
    # A view of the bench is drawn when somebody looks.
    name_of = {id(bench.app.layoutManager().sliceWidget(name)): name for name in ("Red", "Green", "Yellow")}
    monkeypatch.setattr(views, "picture_of", lambda widget: bench.render(name_of[id(widget)]))
    made = Session(Checks(lambda _line: None), "fake")
    yield made
    made.close()


def played(bench, session, part):
    """The checks of a part of a script, by name, and the lines of those that failed."""
    from medsam3_session.steps import Player

    ends = []
    Player(part(session), ends.append)
    bench.wait(lambda: ends, 300)
    if ends[0] is not None:
        raise ends[0]
    return session.checks


def test_previews_partial_slices_and_a_dragged_threshold_are_drawn(bench, session, monkeypatch):
    from medsam3_session import drawing
    from medsam3_session.drawing import check_dragged_threshold, check_partials, check_previews

    # How fast the bench draws, and on which machine, says nothing.
    monkeypatch.setattr(drawing, "PROMPTLY", 60_000)
    checks = played(bench, session, check_previews)
    played(bench, session, check_partials)
    played(bench, session, check_dragged_threshold)

    assert checks.failed == []
    for name in ("Red", "Green", "Yellow"):
        assert len([line for line in checks.lines if f"in {name} at most" in line.name]) == 1
        assert len([line for line in checks.lines if line.name.endswith(f"goes on are drawn in {name}")]) == 1


def test_previews_that_are_not_drawn_are_told_of(bench, session, monkeypatch):
    from medsam3_session import views
    from medsam3_session.drawing import check_partials, check_previews

    monkeypatch.setattr(views, "picture_of", lambda _widget: grey())
    played(bench, session, check_previews)
    checks = played(bench, session, check_partials)

    assert len(checks.failed) == 7


def test_what_is_found_is_visible_after_closing(bench, session):
    from medsam3_session.visibility import check_after_closing, check_others

    checks = played(bench, session, check_after_closing)
    played(bench, session, check_others)

    assert checks.failed == []
    assert len(checks.lines) == 1 + 3 * 3 + 2


def test_segments_that_somebody_hides_are_told_of(bench, session, monkeypatch):
    from medsam3_session import visibility

    def apply_and_hide(session, abdomen):
        yield from apply(session, abdomen)
        (node,) = visibility.segmentations(bench.slicer.mrmlScene)
        node.GetDisplayNode().SetSegmentVisibility(visibility.segment_ids(node)["spleen"], False)

    apply = visibility._apply
    monkeypatch.setattr(visibility, "_apply", apply_and_hide)
    checks = played(bench, session, visibility.check_after_closing)

    assert {line.value for line in checks.failed} == {"['spleen'], not all"}
    assert len(checks.failed) == 6


def test_prompts_of_several_concepts_go_into_segments_of_their_names(bench, session):
    from medsam3_session.drawn_prompts import check_drawn_concepts

    checks = played(bench, session, check_drawn_concepts)

    assert checks.failed == []
    assert len(checks.lines) == 1 + 2 + 2 + 1 + 4 + 1


def test_one_slice_of_an_oblique_view_stays_on_the_volumes_voxels(bench, session):
    from medsam3_session.oblique_slice import check_oblique_slice

    checks = played(bench, session, check_oblique_slice)

    assert checks.failed == []
    assert len(checks.lines) == 1 + 3


def test_the_self_test_plays_the_quick_checks_where_there_is_a_window(bench, session, monkeypatch):
    from medsam3_session import quick

    from support.slicer_modules import load_module

    def check(session):
        played.append(session.model)
        session.checks.check("anything", is_so, "what was found")
        yield from ()

    is_so, played = True, []
    for name in ("check_previews", "check_partials", "check_after_closing", "check_others", "check_drawn_concepts"):
        monkeypatch.setattr(quick, name, check)
    monkeypatch.setattr(quick, "check_oblique_slice", check)
    test = load_module("MedSAM3Segment").MedSAM3SegmentTest()

    test.test_session()
    assert played == []

    monkeypatch.setattr(bench.slicer.util, "mainWindow", lambda: object())
    test.test_session()
    assert played == [session.model] * 6

    is_so = False
    with pytest.raises(AssertionError, match="anything"):
        test.test_session()
