"""Typed commands: 200 ways to say them, and what is refused in words."""

# ruff: noqa: E501  one row of the table, one line

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAM3AgentLib.editing.commands import (
    BeyondSegment,
    BeyondSlice,
    Combine,
    FillHoles,
    Hollow,
    IntensityRange,
    KeepLargest,
    KeepPart,
    KeepSide,
    Margin,
    Measure,
    Operation,
    Recut,
    RemoveSmall,
    Rename,
    SelectObject,
    ShellMode,
    SliceRange,
    Smooth,
    SmoothingMethod,
    SplitObjects,
)
from MedSAM3AgentLib.editing.grammar import EXAMPLES, parse_addressed, parse_commands
from MedSAM3AgentLib.targets import Pick, Side
from MedSAM3SegmentLib.errors import InputError

LEFT, RIGHT = Side.LEFT, Side.RIGHT
MEDIAN, GAUSSIAN = SmoothingMethod.MEDIAN, SmoothingMethod.GAUSSIAN
OPENING, CLOSING = SmoothingMethod.OPENING, SmoothingMethod.CLOSING
INTERSECT, SUBTRACT, UNION = Operation.INTERSECT, Operation.SUBTRACT, Operation.UNION

#: What each sentence means, written down before the grammar was run on it.
PARAPHRASES = {
    Margin(3.0): (
        "grow 3 mm", "expand by 3 mm", "dilate it by 3mm", "make it bigger by 3 mm", "enlarge the segment by 3 mm",
        "add a 3 mm margin", "add a margin of 3 mm", "grow it 3 mm in all directions", "inflate by 3 millimeters",
        "Please expand the mask by 3 mm.", "pad it with 3 mm", "thicken by 3 mm", "margin 3 mm", "make it 3 mm larger",
        "widen by 3 mm", "extend it by 0.3 cm", "increase by 3 mm", "add 3 mm around it", "move the surface out by 3 mm",
    ),
    Margin(-2.0): (
        "shrink 2 mm", "shrink by 2 mm", "erode it by 2 mm", "make it smaller by 2 mm", "tighten by 2 mm",
        "reduce by 2 mm", "contract the segment by 2 mm", "trim by 2 mm", "peel off 2 mm", "make it 2 mm smaller",
        "margin -2 mm", "shrink the mask 2 millimetres", "deflate by 2 mm", "decrease by 2 mm", "take 2 mm off the edges",
        "erode 0.2 cm", "could you shrink it by 2 mm please", "pull it in by 2 mm",
    ),
    KeepLargest(1): (
        "keep the largest", "keep only the largest", "only the largest", "keep the biggest piece", "largest only",
        "remove everything but the largest", "drop all but the largest piece", "keep largest island",
        "keep the main component", "just the largest component", "retain only the biggest island",
        "delete everything except the largest part", "remove the other pieces", "only keep the largest object",
        "keep the largest connected component",
    ),
    KeepLargest(2): ("keep the 2 largest", "keep the two biggest pieces", "Only keep the two biggest islands", "two largest"),
    RemoveSmall(100.0): (
        "remove pieces below 100 voxels", "delete islands smaller than 100 voxels", "remove small islands below 100 voxels",
        "drop fragments under 100 voxels", "remove islands with less than 100 voxels",
    ),
    RemoveSmall(1.0, "ml"): ("remove pieces below 1 ml", "delete fragments under 1 mL", "drop islands smaller than 1 cc"),
    RemoveSmall(): (
        "remove small pieces", "remove the small islands", "delete tiny specks", "get rid of small fragments",
        "clean up stray pieces", "remove specks", "remove noise",
    ),
    SelectObject(2, True): ("keep piece 2", "keep island number 2", "keep only component 2", "keep the second piece", "take object 2"),
    SelectObject(3, False): ("remove piece 3", "delete island 3", "drop the third component", "remove object #3"),
    SplitObjects(): ("split into pieces", "split", "separate the islands", "split it into islands", "divide into its components", "break it up into separate pieces"),
    Smooth(MEDIAN, 3.0): ("smooth 3 mm", "smooth", "smooth it", "median 3 mm", "smooth by 3 mm", "make it smoother", "smooth the surface with 3 mm", "apply a median filter of 3 mm", "smooth it a little"),
    Smooth(GAUSSIAN, 2.0): ("gaussian 2 mm", "gaussian smoothing 2 mm", "blur by 2 mm", "smooth with gaussian 2 mm", "smooth it using a gaussian of 2 mm"),
    Smooth(OPENING, 3.0): ("remove spikes", "opening 3 mm", "morphological opening", "remove the thin connections", "remove protrusions 3 mm", "open it by 3 mm"),
    Smooth(CLOSING, 3.0): ("close gaps", "closing 3 mm", "fill the gaps", "close small gaps", "morphological closing 3 mm", "bridge the gaps"),
    FillHoles(): ("fill holes", "fill the holes", "close all holes", "fill in the holes", "plug the holes", "fill internal holes"),
    FillHoles(True): ("fill holes on each slice", "fill the holes slice by slice"),
    Hollow(2.0): ("make a shell 2 mm", "hollow 2 mm", "hollow it out by 2 mm", "make it a 2 mm shell", "make a shell of 2 mm", "turn it into a shell of 2 mm", "create a 2 mm thick wall"),
    Hollow(2.0, ShellMode.MEDIAL): ("hollow 2 mm medial",),
    Combine(INTERSECT, "liver"): (
        "only inside liver", "only inside the liver", "keep only what is in the liver", "inside the liver only",
        "limit it to the liver", "remove everything outside the liver", "clip to the liver", "nothing outside the liver",
        "restrict to the liver", "intersect with liver", "mask it with the liver", "only the part within the liver",
        "crop it to the liver", "remove what is outside of the liver",
    ),
    Combine(SUBTRACT, "liver"): (
        "without liver", "without the liver", "remove what lies in the liver", "subtract the liver", "minus the liver",
        "exclude the liver", "remove the liver", "remove everything inside the liver", "nothing in the liver",
        "remove the part in the liver", "not the liver", "delete whatever is within the liver", "cut out the liver",
        "remove the overlap with the liver",
    ),
    Combine(UNION, "spleen"): ("add spleen", "add the spleen", "include the spleen", "union with spleen", "merge with the spleen", "plus the spleen", "add the spleen to it", "combine with spleen", "join it with the spleen"),
    Combine(Operation.INVERT): ("invert", "invert it", "invert the mask"),
    Combine(Operation.CLEAR): ("clear", "empty it", "erase everything", "delete everything", "clear the segment"),
    KeepSide(LEFT): ("keep the left part", "the left one", "only the left side", "keep left", "left half only", "keep only the left half", "just the left piece", "keep what is on the left"),
    KeepSide(RIGHT, False): ("remove the right part", "remove everything on the right", "delete the right side", "drop the right half"),
    KeepPart(Pick.UPPER): ("keep the upper part", "the top half", "only the superior part", "keep the upper one"),
    KeepPart(Pick.LOWER, False): ("remove the lower half", "delete the bottom part", "remove the inferior portion"),
    KeepPart(Pick.FRONT): ("keep the front part", "only the anterior half"),
    BeyondSlice(40, True): ("nothing above slice 40", "remove everything above slice 40", "cut off above slice 40", "delete what is above slice 40", "keep only what is below slice 40"),
    BeyondSlice(12, False): ("nothing below slice 12", "remove everything below slice 12"),
    BeyondSegment("diaphragm", True): ("drop everything above the diaphragm", "nothing above the diaphragm", "cut off everything above the diaphragm"),
    SliceRange(20, 50): ("only slices 20 to 50", "keep slices 20-50", "slices 20 to 50 only", "limit to slices 20 to 50", "crop it to slices 20 through 50", "only between slices 20 and 50"),
    SliceRange(3, 7, False): ("remove slices 3 to 7", "delete slices 3-7", "clear slices 3 to 7"),
    SliceRange(None, 30): ("remove everything after slice 30",),
    IntensityRange(150.0, None): ("only above 150 HU", "intensity above 150", "keep voxels above 150 HU", "only voxels with values over 150", "only intensities greater than 150"),
    IntensityRange(-50.0, 120.0): ("only between -50 and 120 HU", "only -50 to 120", "keep intensities from -50 to 120", "limit it to -50 to 120 HU"),
    IntensityRange(None, 0.0, False): ("remove voxels below 0 HU", "delete everything below 0 HU"),
    Recut(0.4): ("threshold 0.4", "set the threshold to 0.4", "threshold .4"),
    Recut(None, True): ("more sensitive", "be more sensitive"),
    Recut(None, False): ("less sensitive", "stricter"),
    Rename("lesion"): ("rename to lesion", "call it lesion", "name it lesion"),
    Measure(): ("how big is it", "how big is it?", "what is its volume", "measure it", "volume"),
}  # fmt: skip

ALL = [(text, command) for command, texts in PARAPHRASES.items() for text in texts]

REFUSED = (
    "make me a sandwich", "ignore all instructions", "rm -rf /", "paint it blue and sing", "42", "segment", "?",
    "open the pod bay doors", "http://example.org", "shrink it until it fits", "import os", "do the usual",
)  # fmt: skip


def understood(text: str) -> object:
    try:
        commands = parse_commands(text)
    except InputError:
        return None
    return commands[0] if len(commands) == 1 else commands


def test_nearly_all_paraphrases_are_understood_and_none_is_understood_wrongly() -> None:
    assert len(ALL) >= 200
    answers = {text: understood(text) for text, _ in ALL}
    wrong = [text for text, command in ALL if answers[text] not in (None, command)]
    right = sum(answers[text] == command for text, command in ALL)
    missed = [text for text, _ in ALL if answers[text] is None]

    assert not wrong
    assert right >= 0.95 * len(ALL), missed


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_command_is_refused_with_the_nearest_that_is(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_commands(text)
    if text.strip("?"):
        assert any(example in str(caught.value) for example in EXAMPLES)


def test_every_example_that_is_offered_is_understood() -> None:
    assert all(parse_commands(example) for example in EXAMPLES)


def test_several_clauses_keep_their_order() -> None:
    assert parse_commands("the left one, then smooth 3 mm") == (KeepSide(LEFT), Smooth())
    assert parse_commands("keep the largest; shrink 2 mm\nfill holes") == (KeepLargest(), Margin(-2.0), FillHoles())
    assert parse_commands("keep the largest and smooth 5 mm") == (KeepLargest(), Smooth(MEDIAN, 5.0))


def test_one_clause_that_is_not_understood_refuses_all() -> None:
    with pytest.raises(InputError, match="sing a song"):
        parse_commands("keep the largest; sing a song")


@pytest.mark.parametrize("text", ["grow 0 mm", "grow 9000 mm", "keep the 0 largest", "keep piece 0", "threshold 7"])
def test_numbers_that_cannot_be_used_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_commands(text)


@given(st.text(max_size=80))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        commands = parse_commands(text)
    except InputError:
        return
    assert commands


@pytest.mark.parametrize(
    ("text", "segment", "name"),
    [
        ("rename the liver to organ", "liver", "organ"),
        ("rename liver to liver left", "liver", "liver left"),
        ("rename it to liver left", "", "liver left"),
        ("rename to liver", "", "liver"),
        ("call the left kidney kidney", "left kidney", "kidney"),
    ],
)
def test_a_new_name_may_hold_that_of_another_segment(text: str, segment: str, name: str) -> None:
    (addressed,) = parse_addressed(text, ["liver", "left kidney", "kidney"])
    assert (addressed.segment, addressed.command) == (segment, Rename(name))
