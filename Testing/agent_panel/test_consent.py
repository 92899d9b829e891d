"""The question before anything leaves: whatever is not a click on its yes is a no."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QPushButton

from MedSAM3AgentLib.sending.disclosure import Disclosure
from MedSAM3SegmentLib.messages.message import message
from support.agent_panel import page_of
from support.translations import speak

WHAT = message("Pages drawn from this volume and these words would be sent to {host}: {words}", host="h", words="<b>x")


def disclosure(may_have_text=False, picture=None):
    return Disclosure("llm.example.org", WHAT, page_of() if picture is None else picture, may_have_text)


@pytest.fixture
def windows(bench, monkeypatch):
    """Each window as it was shown, and what is done in it: a list that a test fills."""
    del bench
    shown, acts = [], []

    def run(dialog):
        act = acts.pop(0)
        dialog.show()
        QApplication.processEvents()
        shown.append([label.text for label in dialog.findChildren(QLabel) if label.text])
        act(dialog)
        QApplication.processEvents()
        return dialog.result()

    for name in ("exec", "exec_"):
        monkeypatch.setattr(QDialog, name, run)
    return shown, acts


def button(dialog, name):
    (found,) = [each for each in dialog.findChildren(QPushButton) if each.objectName == name]
    return found


def press_yes(dialog):
    QTest.mouseClick(button(dialog, "consentYes"), Qt.LeftButton)


def press_no(dialog):
    QTest.mouseClick(button(dialog, "consentNo"), Qt.LeftButton)


def press_return(dialog):
    QTest.keyClick(dialog, Qt.Key_Return)


def press_escape(dialog):
    QTest.keyClick(dialog, Qt.Key_Escape)


def close(dialog):
    dialog.close()


def asked(given):
    from MedSAM3AgentPanelLib.language.consent_dialog import ask_consent

    return ask_consent(given)


def test_host_words_and_the_very_picture_are_shown_and_a_click_is_a_yes(windows):
    shown, acts = windows
    pictures = []

    def look_and_agree(dialog):
        pictures.extend(label.pixmap for label in dialog.findChildren(QLabel) if label.pixmap.width())
        press_yes(dialog)

    acts.append(look_and_agree)
    assert asked(disclosure()) is True
    (words,) = shown
    assert "llm.example.org" in words[0]
    assert any("<b>x" in text for text in words), "as typed"
    (picture,) = pictures
    assert (picture.width(), picture.height()) == (1008, 700)
    assert picture.toImage().pixelColor(5, 5).getRgb()[:3] == (10, 200, 30)


@pytest.mark.parametrize("act", [press_no, press_return, press_escape, close], ids=lambda act: act.__name__)
def test_anything_else_is_a_no(windows, act):
    _shown, acts = windows
    acts.append(act)
    assert asked(disclosure()) is False
    assert acts == []


@pytest.mark.parametrize("second", [press_no, press_return, press_escape, close], ids=lambda act: act.__name__)
def test_where_text_may_be_burnt_in_a_second_yes_is_needed(windows, second):
    shown, acts = windows
    acts += [press_yes, second]
    assert asked(disclosure(may_have_text=True)) is False
    assert "name or a date of birth" in shown[1][0]
    acts += [press_yes, press_yes]
    assert asked(disclosure(may_have_text=True)) is True


def test_what_would_be_sent_is_said_in_slicers_language(bench, monkeypatch, windows):
    shown, acts = windows
    pages = "Pages drawn from this volume, such as this one, measured numbers and these words"
    template = pages + " would be sent to {host}: {words}"
    speak(monkeypatch, bench.app, {template: "Seiten und Worte gingen an {host}: {words}"})
    acts.append(press_no)
    what = message(template, host="h", words="Leber")
    asked(Disclosure("llm.example.org", what, page_of(), False))
    assert "Seiten und Worte gingen an h: Leber" in shown[0]


def test_it_says_so_where_words_alone_would_leave(windows):
    shown, acts = windows
    acts.append(press_no)
    assert asked(disclosure(picture=b"")) is False
    assert any("no picture" in text for text in shown[0])


def test_the_window_fits_a_low_screen(windows):
    _shown, acts = windows
    sizes = []

    def measure(dialog):
        sizes.append((dialog.width, dialog.height))
        press_no(dialog)

    acts.append(measure)
    asked(disclosure())
    assert sizes[0][0] <= 1366
    assert sizes[0][1] <= 728


def test_a_panel_that_is_gone_says_no(bench, monkeypatch, windows):
    from support.agent_panel import begin, open_agent_panel, phantom

    del windows
    widget, logic = open_agent_panel(bench, monkeypatch)
    phantom()
    begin(widget)
    ask = logic.asked[0][3]["onConsent"]
    bench.close_panel(widget)
    assert ask(disclosure()) is False
