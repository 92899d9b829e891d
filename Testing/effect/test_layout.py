"""The effect in Slicer's module panel: its help is folded away, and its actions are seen, also on a low screen."""

from __future__ import annotations

import pytest

from fake_slicer.module_panel import SMALL_HEIGHT, USUAL_HEIGHT, USUAL_WIDTH
from support.effect import finish, open_effect, options, pixel_of


@pytest.fixture
def opened(bench, letters):
    del letters
    return open_effect(bench)


def choose_in_panel(opened, height):
    """The Segment Editor in a module panel of some height, in which a user chooses the effect."""
    name = opened.effect.scriptedEffect.name
    opened.editor.leave()
    panel = opened.bench.show_in_module_panel(opened.editor.widget, USUAL_WIDTH, height)
    opened.effect = opened.editor.choose(name)
    opened.bench.spin(0.2)
    return panel


def actions(opened):
    return options(opened).sliceButton, options(opened).propagateButton, options(opened).volumeButton


def test_the_help_is_one_sentence_until_its_details_are_asked_for(opened):
    choose_in_panel(opened, USUAL_HEIGHT)
    shown = opened.editor.help

    assert shown.toPlainText().startswith("Find the selected segment by a phrase, or by what is drawn in slice views")
    assert shown.toPlainText().endswith("Show details.")
    assert "Shift+Enter" not in shown.toPlainText()
    assert shown.height < 3 * shown.fontMetrics().lineSpacing()

    shown.collapsed = False
    words = " ".join(shown.toPlainText().split())
    assert "what is drawn in slice views. Click: a point." in words
    assert "Shift+Enter" in words


def test_all_actions_are_seen_as_slicer_is_first_opened(opened):
    panel = choose_in_panel(opened, USUAL_HEIGHT)

    assert all(panel.bench_shows(button) for button in actions(opened))
    assert panel.bench_scroll_bar().value == 0


def test_all_actions_and_what_they_say_are_seen_on_a_low_screen(opened):
    panel = choose_in_panel(opened, SMALL_HEIGHT)
    assert all(panel.bench_shows(button) for button in actions(opened))
    assert panel.bench_shows(options(opened).phraseEdit)

    opened.editor.drag("Red", pixel_of(opened, "Red", (11, 9, 6)), pixel_of(opened, "Red", (25, 23, 6)))
    options(opened).sliceButton.click()
    finish(opened)
    opened.bench.spin(0.2)

    assert options(opened).messageLabel.text
    assert panel.bench_shows(options(opened).messageLabel)
    assert all(panel.bench_shows(button) for button in actions(opened))


def test_what_is_drawn_takes_room_only_when_there_is_some(opened):
    choose_in_panel(opened, USUAL_HEIGHT)
    rows = options(opened).promptList
    assert not rows.visible
    assert not options(opened).removeAllButton.visible

    heights = []
    for count in range(6):
        opened.editor.click("Red", pixel_of(opened, "Red", (8 + 5 * count, 12, 6)))
        opened.bench.spin(0.05)
        heights.append(rows.height)

    assert rows.visible
    assert heights[:4] == sorted(set(heights))
    assert heights[3:] == [heights[3]] * 3
    # No row is cut off, and none is empty.
    assert heights[1] - heights[0] == rows.sizeHintForRow(0)
    options(opened).removeAllButton.click()
    assert not rows.visible
