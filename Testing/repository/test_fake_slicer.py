"""The bench itself: that its widgets behave as Slicer's do where the project relies on it, and that it is strict."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

from support.paths import ROOT

EFFECT = ROOT / "MedSAM3Segment" / "SegmentEditorMedSAM3Lib" / "SegmentEditorEffect.py"

#: Where the constants are counted, an extension that takes references to them away ends the whole run.
needs_counted_constants = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="since Python 3.12 None, True and False are not counted"
)


@pytest.fixture
def volume(bench):
    """A volume node whose voxels are all different."""
    array = np.arange(20 * 30 * 40, dtype=np.int16).reshape(20, 30, 40)
    node = bench.slicer.util.addVolumeFromArray(array, name="CT")
    node.CreateDefaultDisplayNodes()
    bench.slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


@pytest.fixture
def segmentation(bench, volume):
    """A segmentation node with an empty segment."""
    node = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("liver", "liver")
    return node


def voxels(bench, segmentation, volume):
    return bench.slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "liver", volume)


def test_properties_are_attributes_and_what_qt_lacks_is_refused(bench):
    import qt

    label = qt.QLabel("liver")
    label.wordWrap = True
    label.text = "spleen"
    assert label.text == "spleen"
    assert label.wordWrap
    with pytest.raises(TypeError):
        label.text()
    with pytest.raises(AttributeError, match="txet"):
        label.txet = "liver"
    with pytest.raises(AttributeError, match="txet"):
        _ = label.txet
    with pytest.raises(AttributeError, match="klicked"):
        label.connect("klicked()", print)
    with pytest.raises(TypeError, match="None"):
        label.text = None
    assert not hasattr(qt, "Signal")
    assert bench.slot_errors == []


@pytest.mark.usefixtures("bench")
def test_a_property_that_shares_its_name_with_a_static_slot_cannot_be_set(bench):
    del bench
    import qt

    timer = qt.QTimer()
    with pytest.raises(AttributeError, match="Slot 'singleShot' can not be overwritten on QTimer"):
        timer.singleShot = True
    timer.setSingleShot(True)
    assert timer.isSingleShot()


def test_a_connection_keeps_its_slot_until_disconnected_or_the_sender_ends():
    import qt

    class Listener:
        def __init__(self):
            self.timer = qt.QTimer()
            self.timer.connect("timeout()", self.hear)

        def hear(self):
            pass

    listener = Listener()
    known, timer = weakref.ref(listener), listener.timer
    del listener
    gc.collect()
    assert known() is not None, "a listener that holds the sender is never freed"
    assert timer.disconnect("timeout()", known().hear)
    gc.collect()
    assert known() is None

    button, heard = qt.QPushButton(), Listener()
    button.connect("clicked()", heard.hear)
    heard.timer.disconnect("timeout()", heard.hear)
    known = weakref.ref(heard)
    del heard, button
    gc.collect()
    assert known() is None


@pytest.mark.usefixtures("bench")
def test_a_widget_that_is_destroyed_is_false_and_has_another_hash():
    import qt
    import shiboken6

    label = qt.QLabel()
    before = hash(label)
    assert label
    assert hash(label) == before
    shiboken6.delete(label)
    assert not label
    assert hash(label) != before


@pytest.mark.usefixtures("bench")
def test_a_completer_gets_the_keys_of_its_popup_first_after_a_model_change():
    import qt

    class Filter(qt.QObject):
        heard = 0

        def eventFilter(self, _watched, event):  # noqa: N802
            self.heard += event.type() == qt.QEvent.KeyPress
            return False

    edit, keys = qt.QPlainTextEdit(), Filter()
    completer = qt.QCompleter(edit)
    completer.setWidget(edit)
    completer.setModel(qt.QStringListModel(["liver"], completer))
    completer.popup().installEventFilter(keys)
    press = qt.QKeyEvent(qt.QEvent.KeyPress, qt.Qt.Key_Return, qt.Qt.NoModifier, "\r")
    completer.complete()
    qt.QApplication.sendEvent(completer.popup(), press)
    assert keys.heard == 1
    completer.setModel(qt.QStringListModel(["spleen"], completer))
    completer.complete()
    qt.QApplication.sendEvent(completer.popup(), press)
    assert keys.heard == 1
    completer.popup().hide()


@pytest.mark.usefixtures("bench")
def test_slots_get_as_many_arguments_as_they_take_until_disconnected():
    import qt

    button, heard = qt.QPushButton(), []
    button.checkable = True

    def without():
        heard.append("without")

    button.connect("toggled(bool)", without)
    button.connect("toggled(bool)", heard.append)
    button.connect("clicked()", lambda *arguments: heard.append(arguments))
    button.click()
    assert heard == ["without", True, ()]
    assert button.disconnect("toggled(bool)", without)
    button.click()
    assert heard == ["without", True, (), False, ()]


def test_an_error_in_a_slot_is_not_lost_unless_the_user_was_told(bench):
    import qt

    button = qt.QPushButton()

    def fail():
        raise ValueError("no liver")

    def fail_in_words():
        with bench.slicer.util.tryWithErrorDisplay("It did not work."):
            raise ValueError("no spleen")

    button.connect("clicked()", fail)
    button.connect("clicked()", fail_in_words)
    button.click()
    assert [str(error) for error in bench.slot_errors] == ["no liver"]
    assert bench.dialogs.texts("error") == ["It did not work.\n\nno spleen"]
    bench.slot_errors.clear()


def test_dialogs_are_noted_down_and_answered(bench):
    import qt

    bench.dialogs.confirm = False
    assert not bench.slicer.util.confirmOkCancelDisplay("Go on?")
    bench.dialogs.path = "/somewhere"
    assert qt.QFileDialog.getExistingDirectory(None, "") == "/somewhere"
    assert bench.dialogs.texts("question") == ["Go on?"]


def test_a_node_selector_follows_the_scene_as_slicers_does(bench, volume):
    selector, heard = bench.slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    selector.setMRMLScene(bench.slicer.mrmlScene)
    assert heard == [volume]
    other = bench.slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="MR")
    assert selector.currentNode() is volume
    bench.slicer.mrmlScene.RemoveNode(volume)
    assert heard == [volume, other]
    selector.noneEnabled = True
    bench.slicer.mrmlScene.Clear(False)
    assert heard == [volume, other, None]


def test_parameters_are_kept_in_the_node_as_slicer_keeps_them(bench, volume):
    from MedSAM3PanelLib.parameter_node import PanelMode, PanelParameters

    node = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters = PanelParameters(node)
    assert parameters.mode is PanelMode.SLICES
    parameters.volume, parameters.concepts, parameters.mode = volume, "liver", PanelMode.PROPAGATE
    parameters.range_is_used = True
    assert node.GetNodeReference("volume") is volume
    kept = [node.GetParameter(name) for name in ("concepts", "mode", "range_is_used", "model")]
    assert kept == ["liver", "PROPAGATE", "True", "demo"]
    for name, wrong in (("first_slice", "3"), ("first_slice", True), ("mode", "SLICES"), ("concepts", None)):
        with pytest.raises(TypeError, match=name):
            setattr(parameters, name, wrong)
    node.SetParameter("first_slice", "7")
    assert PanelParameters(node).first_slice == 7


def test_widgets_and_parameters_follow_each_other_until_disconnected(bench):
    import qt

    from MedSAM3PanelLib.parameter_node import PanelMode, PanelParameters

    parameters = PanelParameters(bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    panel = qt.QWidget()
    box, choice = qt.QSpinBox(panel), qt.QComboBox(panel)
    box.setProperty("SlicerParameterName", "first_slice")
    choice.setProperty("SlicerParameterName", "mode")
    tag = parameters.connectGui(panel)
    assert choice.count == len(PanelMode)
    box.value = 5
    parameters.mode = PanelMode.PROPAGATE
    assert parameters.first_slice == 5
    assert choice.currentText == PanelMode.PROPAGATE.label()
    parameters.disconnectGui(tag)
    box.value = 6
    assert parameters.first_slice == 5


def test_slice_views_show_the_volume_and_the_segment_in_place(bench, volume, segmentation):
    bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode().JumpSlice(0, 0, 10)
    before = bench.render("Red").astype(int)
    assert len(np.unique(before)) > 10
    mask = np.zeros((20, 30, 40), np.uint8)
    mask[10, 5:15, 5:20] = 1
    bench.slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "liver", volume)
    changed = (bench.render("Red").astype(int) != before).any(axis=2)

    to_view = np.linalg.inv(_matrix(bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetXYToRAS()))
    ends = [to_view @ np.array([i, j, 10, 1]) for i, j in ((5, 5), (19, 14))]
    columns = sorted(end[0] for end in ends)
    rows = sorted(changed.shape[0] - end[1] for end in ends)
    assert changed[round(sum(rows) / 2), round(sum(columns) / 2)]
    found_rows, found_columns = np.nonzero(changed)
    voxel = abs(columns[1] - columns[0]) / 14
    assert [found_columns.min(), found_columns.max()] == pytest.approx(columns, abs=voxel)
    assert [found_rows.min(), found_rows.max()] == pytest.approx(rows, abs=voxel)


def test_the_editor_gives_events_to_the_active_effect_and_takes_them_back(bench, volume, segmentation):
    editor = bench.segment_editor(volume, segmentation)
    effect = editor.open_effect(EFFECT)
    assert effect.scriptedEffect.active()
    assert editor.click("Red", (150, 150))
    assert not editor.click("Red", (150, 150), control=True)
    editor.leave()
    assert not effect.scriptedEffect.active()
    assert not editor.click("Red", (150, 150))


def test_what_an_effect_writes_honours_masking_and_is_undone_bit_for_bit(bench, volume, segmentation):
    slicer = bench.slicer
    editor = bench.segment_editor(volume, segmentation)
    host = editor.open_effect(EFFECT).scriptedEffect
    modifier = host.defaultModifierLabelmap()
    slicer.vtkOrientedImageDataResample.FillImage(modifier, 1)
    editor.node.SetSourceVolumeIntensityMask(True)
    editor.node.SetSourceVolumeIntensityMaskRange(100, 199)

    host.saveStateForUndo()
    host.modifySelectedSegmentByLabelmap(modifier, slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeSet)

    array = slicer.util.arrayFromVolume(volume)
    assert (voxels(bench, segmentation, volume) == ((array >= 100) & (array <= 199))).all()
    editor.undo()
    assert not voxels(bench, segmentation, volume).any()
    editor.redo()
    assert voxels(bench, segmentation, volume).sum() == 100


def test_effect_parameters_take_only_what_slicer_reads_right(bench, volume, segmentation):
    host = bench.segment_editor(volume, segmentation).open_effect(EFFECT).scriptedEffect
    host.setParameter("Positive", 0)
    assert host.integerParameter("Positive") == 0
    for wrong in (True, np.int64(1), None):
        with pytest.raises(TypeError, match="Positive"):
            host.setParameter("Positive", wrong)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("<html>First<br>. Second<br>Third</html>", "First\N{HORIZONTAL ELLIPSIS} Show details..."),
        ("<html>First<br/>Second</html>", "First\nSecond"),
        ("First\nSecond", "First\N{HORIZONTAL ELLIPSIS} Show details..."),
    ],
)
def test_help_is_folded_at_its_first_line_break_as_slicer_does_it(bench, text, folded):
    import ctk

    del bench
    browser = ctk.ctkFittedTextBrowser()
    browser.setCollapsibleText(text)

    assert browser.toPlainText().replace("\u2028", "\n") == folded


def test_a_ui_file_with_an_unknown_widget_is_refused(bench, tmp_path):
    path = tmp_path / "unknown.ui"
    path.write_text(
        '<ui version="4.0"><widget class="QWidget" name="top">'
        '<widget class="qMRMLNothing" name="inside"/></widget></ui>'
    )
    with pytest.raises(LookupError, match="qMRMLNothing"):
        bench.slicer.util.loadUI(str(path))


def test_the_panel_opens_and_is_cleaned_up(bench, volume):
    panel = bench.open_panel("MedSAM3Segment")
    assert panel.ui.volumeSelector.currentNode() is volume
    bench.leave(panel)
    bench.enter(panel)
    bench.close_panel(panel)
    bench.slicer.mrmlScene.Clear(False)


@needs_counted_constants
def test_qt_counts_the_constants_that_it_returns():
    """PySide6 6.12.0 does not: each call loses a reference, and Python aborts when none is left."""
    from fake_slicer.pythonqt import QtCore

    timer = QtCore.QTimer()
    calls = {
        "a method without a result": (None, lambda: timer.setInterval(1)),
        "a pointer to nothing": (None, timer.parent),
        "a property that is not there": (None, lambda: timer.property("absent")),
        "a signal that is sent": (True, lambda: timer.objectNameChanged.emit("name")),
    }
    lost = {}
    for what, (constant, call) in calls.items():
        before = sys.getrefcount(constant)
        for _ in range(1000):
            call()
        lost[what] = before - sys.getrefcount(constant)

    assert {what: count for what, count in lost.items() if count > 100} == {}


@needs_counted_constants
def test_opening_the_bench_again_and_again_takes_no_reference_to_none_away(tmp_path):
    from fake_slicer import open_bench

    counts = []
    for _ in range(4):
        with pytest.MonkeyPatch.context() as monkeypatch, open_bench(monkeypatch, tmp_path) as opened:
            opened.open_panel("MedSAM3Segment")
        gc.collect()
        counts.append(sys.getrefcount(None))

    # The first opening imports what the later ones only use.
    assert min(counts[1:]) >= counts[0], f"References to None after each opening: {counts}"


def _matrix(matrix):
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
