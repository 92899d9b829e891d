"""The labels of the panel in Slicer's module panel: all their words are in sight, however wide the panel is."""

from __future__ import annotations

import random

import pytest

SHORT = "All packages are installed."
LONG = (
    "Not installed on this computer: torch, huggingface_hub, rich, safetensors, starlette, tokenizers, transformers and"
    " uvicorn; press Install."
)

#: Labels that hold sentences.
SENTENCES = ("stateLabel", "engineLabel", "modelMessageLabel", "progressLabel", "resultLabel", "conceptMessageLabel")


@pytest.fixture
def column(bench):
    """The panel in Slicer's column, in which nothing changes by itself."""
    widget = bench.open_panel("MedSAM3Segment")
    widget.panel.setup.engine.close()
    bench.module_panel.bench_show(widget.parent)
    return widget, bench.module_panel


def settle(bench):
    """Lay out what has changed: each layout may ask for another."""
    for _round in range(20):
        bench.app.processEvents()


def needed(label):
    """The height of the words; what Qt says is never below the least height that a label was given."""
    from PySide6.QtWidgets import QLabel

    like = QLabel(label.text)
    like.setWordWrap(True)
    like.setFont(label.font)
    like.setTextInteractionFlags(label.textInteractionFlags)
    return like.heightForWidth(label.width)


def cut_off(widget):
    """Labels on show with less height than their words need."""
    labels = {name: getattr(widget.ui, name) for name in SENTENCES}
    return {
        name: (label.height, needed(label))
        for name, label in labels.items()
        if label.visible and label.height < needed(label)
    }


def test_set_up_is_whole_after_a_visit_to_a_module_whose_panel_is_wider(bench, column):
    widget, panel = column
    panel.resize(400, 700)
    settle(bench)
    panel.bench_remove()
    panel.resize(900, 700)
    settle(bench)
    panel.bench_show(widget.parent)
    widget.ui.engineLabel.text = LONG
    settle(bench)

    panel.resize(400, 700)
    widget.ui.stateLabel.text = LONG
    widget.ui.setupSection.collapsed = False
    settle(bench)

    label = widget.ui.stateLabel
    assert needed(label) > 2 * label.fontMetrics().height()
    assert cut_off(widget) == {}


def test_a_label_grows_and_shrinks_with_its_words_and_with_the_panel(bench, column):
    widget, panel = column
    label = widget.ui.stateLabel
    widget.ui.setupSection.collapsed = False
    panel.resize(420, 1400)
    line = label.fontMetrics().height()

    def height():
        settle(bench)
        assert cut_off(widget) == {}
        return label.height

    label.text = SHORT
    assert height() < 2 * line
    label.text = LONG
    assert height() > 3 * line
    panel.resize(1300, 1400)
    assert height() < 3 * line
    panel.resize(420, 1400)
    assert height() > 3 * line
    label.text = SHORT
    assert height() < 2 * line


def test_whatever_is_done_to_the_panel_no_sentence_is_cut_off(bench, column):
    widget, panel = column
    ui, chance = widget.ui, random.Random(3)
    is_shown = True
    for _step in range(150):
        match chance.randrange(5):
            case 0 | 1:
                panel.resize(chance.choice([400, 500, 600, 900]), chance.choice([500, 700, 1400]))
            case 2:
                ui.setupSection.collapsed = not ui.setupSection.collapsed
            case 3:
                getattr(ui, chance.choice(SENTENCES)).text = chance.choice([SHORT, LONG])
            case 4:
                is_shown = not is_shown
                if is_shown:
                    panel.bench_show(widget.parent)
                else:
                    panel.bench_remove()
        settle(bench)
        assert not is_shown or cut_off(widget) == {}
