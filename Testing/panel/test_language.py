"""Panel and effect in another language than English: what the engine says comes over the wire and is understood."""

from __future__ import annotations

from dataclasses import replace

import pytest

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from support.effect import finish, open_effect, options
from support.engine_server import TOKEN
from support.panel import VALUES, phantom, run
from support.translations import speak

GERMAN = {
    "'{concept}' was found on {count} slices.": "Auf {count} Schichten ist „{concept}“.",
    "'{concept}' was not found on any slice.": "„{concept}“ ist auf keiner Schicht.",
    "The slice range {first}:{end} is not inside the {count} {plane} slices 0:{count}.": (
        "Von {count} {plane} Schichten (0:{count}) liegen {first}:{end} nicht alle darin."
    ),
    "axial": "axialen",
    "What answers at {address} does not know the token, which was therefore not sent; copy address and token again "
    "from where the engine was started.": "Bei {address} ist das Token falsch.",
    "The segment '{name}' was left as it was.": "Das Segment „{name}“ blieb, wie es war.",
}


@pytest.fixture
def remote(bench, engine, monkeypatch):
    """The panel with an engine at the other end of a socket, whose segmenter finds voxel values."""
    speak(monkeypatch, bench.app, GERMAN)
    engine.slow = FakeSegmenter(VALUES)
    phantom()
    widget = bench.open_panel("MedSAM3Segment")
    widget.panel.connect_scene()
    widget.ui.remoteAddressEdit.text = engine.address
    widget.ui.remoteTokenEdit.text = TOKEN
    widget.ui.remoteTokenEdit.editingFinished.emit()
    return widget


def test_what_the_engine_found_is_told_in_the_users_language(bench, remote):
    run(bench, remote, "liver; bicycle")

    table = remote.ui.resultsTable
    assert table.item(0, 0).toolTip() == "liver: Auf 7 Schichten ist „liver“."
    assert table.item(1, 0).toolTip() == "bicycle: „bicycle“ ist auf keiner Schicht."
    # A script has it in English, as the shell has.
    assert remote.logic.messages == ["'liver' was found on 7 slices.", "'bicycle' was not found on any slice."]


def test_why_the_engine_cannot_is_told_in_the_users_language(bench, remote, engine):
    class Refusing(FakeSegmenter):
        def segment(self, volume, request, *_):
            stack = SliceStack.along(volume.grid, Plane.AXIAL)
            replace(request, slices=(3, 99)).slice_range(stack)

    engine.slow = Refusing(VALUES)

    run(bench, remote)

    said = "Von 12 axialen Schichten (0:12) liegen 3:99 nicht alle darin."
    assert remote.ui.resultLabel.text == said
    assert bench.dialogs.texts("error") == [said]


def test_a_refusal_of_the_engines_door_is_told_in_the_users_language(bench, remote, engine):
    remote.ui.remoteTokenEdit.text = "another-token"
    remote.ui.remoteTokenEdit.editingFinished.emit()

    run(bench, remote)

    assert remote.ui.resultLabel.text == f"Bei {engine.address} ist das Token falsch."


def test_the_effect_speaks_the_users_language(bench, monkeypatch):
    speak(monkeypatch, bench.app, GERMAN)
    opened = open_effect(bench)
    options(opened).phraseEdit.text = "bicycle"

    options(opened).sliceButton.click()
    finish(opened)

    assert options(opened).messageLabel.text.splitlines()[:2] == [
        "„bicycle“ ist auf keiner Schicht.",
        "Das Segment „liver“ blieb, wie es war.",
    ]
