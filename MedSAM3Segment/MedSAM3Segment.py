"""The MedSAM3 Segment module of 3D Slicer: registration, panel, logic for the console, self-test.

Thin on purpose: the engine is MedSAM3SegmentLib, the way between it and the scene MedSAM3SceneLib. Both are imported
when they are first used, so that Slicer starts as fast as without them.
"""

import logging

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class MedSAM3Segment(ScriptedLoadableModule):
    """Registers the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedSAM3 Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy"]
        self.parent.contributors = ["MedSAM3 for 3D Slicer contributors"]
        self.parent.helpText = _(
            "Type what to segment, such as <i>liver; spleen; kidney tumor</i>, and get one editable segment per phrase."
            " See the <a href='https://github.com/SlicerMedSAM3/SlicerMedSAM3'>documentation</a>."
        )
        self.parent.acknowledgementText = _(
            "Built on MedSAM-3, on SAM 3 and on the transformers library. For research, not for clinical use."
        )


class MedSAM3SegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedSAM3Segment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = MedSAM3SegmentLogic()
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.updateApplyButton)
        self.ui.conceptsEdit.connect("textChanged()", self.updateApplyButton)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.updateApplyButton()

    def cleanup(self):
        """Called when Slicer closes the module."""
        self.removeObservers()

    def onSceneEndClose(self, _caller=None, _event=None):
        self.ui.resultLabel.text = ""

    def updateApplyButton(self, _node=None):
        if self.ui.volumeSelector.currentNode() is None:
            reason = _("Select a volume first.")
        elif not self.ui.conceptsEdit.plainText.strip():
            reason = _("Type at least one concept first.")
        else:
            reason = ""
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or _("Make one segment per concept.")

    def onApply(self, _checked=False):
        self.ui.resultLabel.text = ""
        with slicer.util.tryWithErrorDisplay(_("The volume could not be segmented."), waitCursor=True):
            node = self.logic.segment(
                self.ui.volumeSelector.currentNode(),
                self.ui.conceptsEdit.plainText,
                self.ui.segmentationSelector.currentNode(),
            )
            self.ui.segmentationSelector.setCurrentNode(node)
            self.ui.resultLabel.text = "\n".join(self.logic.messages)


class MedSAM3SegmentLogic(ScriptedLoadableModuleLogic):
    """Segmentation by phrases, for the panel and for Slicer's Python console.

    In the console::

        from MedSAM3Segment import MedSAM3SegmentLogic
        logic = MedSAM3SegmentLogic()
        segmentation = logic.segment(slicer.util.getNode("CT"), ["liver", "spleen"])
        print("\\n".join(logic.messages))
        logic.undo()

    Args:
        segmenter: used instead of loading a model (anything with ``Segmenter.segment``).

    Attributes:
        result: the MedSAM3SegmentLib.result.SegmentResult of the last run: scores by slice, masks, instances.
        written: the MedSAM3SceneLib.segmentations.WrittenResult of the last run: which segment holds which concept.
        messages: what the user should know of the last run, one sentence each.
    """

    def __init__(self, segmenter=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self.result = None
        self.written = None
        self.messages = []
        self._segmenter = segmenter
        self._loaded = None
        self._writer = None

    def segment(
        self,
        volumeNode,
        concepts,
        segmentationNode=None,
        plane="acquired",
        window=None,
        threshold=None,
        slices=None,
        model="demo",
        device="auto",
        progress=None,
        cancel=None,
    ):
        """Segment ``volumeNode`` and write one segment per concept that was found.

        :param volumeNode: scalar or colour volume node.
        :param concepts: phrases, such as ``["liver", "left kidney"]``, or one text with ``;`` between them.
        :param segmentationNode: where to write; None makes a new node. Segments of an earlier run are updated, those of
            other origin kept as masking and overwrite mode of a Segment Editor that is open on the node ask for.
        :param plane: ``acquired``, ``axial``, ``coronal`` or ``sagittal``.
        :param window: preset name such as ``liver``, (low, high), or None for each concept's own.
        :param threshold: lowest score that is kept, 0 to 1, or None for the model's own.
        :param slices: (first, end) along the stack, end not included, or None for all.
        :param model: ``demo``, a folder, or a hub id.
        :param device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        :param progress: called with a MedSAM3SegmentLib.request.Progress.
        :param cancel: asked between batches of slices; returning True ends the run.
        :return: the segmentation node. A concept that was not found has no segment; ``messages`` says so.
        :raises MedSAM3SegmentLib.errors.MedSAM3Error: with one sentence that says what to do; the scene is unchanged.
        """
        from MedSAM3SceneLib.console import request_from
        from MedSAM3SceneLib.segmentations import check_segmentation_node, messages_of, write_result
        from MedSAM3SceneLib.volumes import read_volume_node
        from MedSAM3SegmentLib.concepts import Vocabulary

        request = request_from(concepts, plane, window, threshold, slices)
        placed = read_volume_node(volumeNode)
        if segmentationNode is not None:
            check_segmentation_node(segmentationNode)
        result = self._segmenterFor(model, device).segment(placed.volume, request, progress, cancel)
        self.written = write_result(
            result,
            placed,
            volumeNode,
            segmentationNode,
            Vocabulary.load(),
            self._segmentWriter(),
            lambda: self._saveStateOfSegmentEditor(segmentationNode),
        )
        self.result = result
        self.messages = messages_of(result, self.written)
        for message in self.messages:
            logging.info("MedSAM3: %s", message)
        return self.written.segmentation_node

    def undo(self):
        """Take back the last run's changes to its segmentation; False when there is nothing to undo."""
        return self._segmentWriter().undo()

    def redo(self):
        """Do again what ``undo`` took back; False when there is nothing to redo."""
        return self._segmentWriter().redo()

    def _segmentWriter(self):
        from MedSAM3SceneLib.editing import SegmentWriter

        if self._writer is None:
            self._writer = SegmentWriter()
        return self._writer

    def _segmenterFor(self, model, device):
        """The segmenter with this model; the last one stays loaded."""
        if self._segmenter is not None:
            return self._segmenter
        if self._loaded is None or self._loaded[:2] != (model, device):
            self._loaded = None
            self._loaded = (model, device, _loadSegmenter(model, device))
        return self._loaded[2]

    @staticmethod
    def _saveStateOfSegmentEditor(segmentationNode):
        """Let the Undo button of Slicer's Segment Editor take the run back too, when it has this segmentation open."""
        panel = getattr(slicer.modules, "SegmentEditorWidget", None)
        editor = panel.editor if panel is not None else None
        if editor is not None and segmentationNode is not None and editor.segmentationNode() == segmentationNode:
            editor.saveStateForUndo()


def _loadSegmenter(model, device):
    from MedSAM3SegmentLib.errors import ModelError

    try:
        from MedSAM3SegmentLib.segmenter import Segmenter

        return Segmenter.load(model, device)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            message = _(
                "PyTorch is not installed in this Slicer; install the PyTorch extension in the Extensions Manager,"
                " restart Slicer, and install PyTorch with its PyTorch Utils module."
            )
        else:
            message = _(
                "The Python package '{name}' is not installed in this Slicer; run"
                " slicer.util.pip_install('{name}') in the Python console and try again."
            ).format(name=error.name)
        raise ModelError(message) from error


class MedSAM3SegmentTest(ScriptedLoadableModuleTest):
    """Self-test with a segmenter without a model: needs neither PyTorch nor a network."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_one_segment_per_concept()
        self.setUp()
        self.test_undo()

    def makeVolume(self):
        """A volume node in which the liver has the value 1 and the spleen the value 2."""
        import numpy as np

        array = np.zeros((5, 6, 7), np.int16)
        array[1:4, 1:3, 1:6] = 1
        array[1:3, 4:6, 2:5] = 2
        return slicer.util.addVolumeFromArray(array, name="phantom")

    def makeLogic(self):
        from MedSAM3SceneLib.fake_segmenter import FakeSegmenter

        return MedSAM3SegmentLogic(FakeSegmenter({"liver": 1, "spleen": 2}))

    def test_one_segment_per_concept(self):
        self.delayDisplay("One segment per concept")
        volume = self.makeVolume()
        logic = self.makeLogic()

        node = logic.segment(volume, "liver; spleen; pancreas")

        segmentation = node.GetSegmentation()
        names = [segmentation.GetNthSegment(number).GetName() for number in range(segmentation.GetNumberOfSegments())]
        assert names == ["liver", "spleen"]
        for number, value in enumerate((1, 2)):
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentation.GetNthSegmentID(number), volume)
            assert ((mask > 0) == (slicer.util.arrayFromVolume(volume) == value)).all()
        assert any("pancreas" in message for message in logic.messages)

    def test_undo(self):
        self.delayDisplay("Undo")
        logic = self.makeLogic()
        node = logic.segment(self.makeVolume(), ["liver"])

        assert logic.undo()
        assert node.GetSegmentation().GetNumberOfSegments() == 0
        assert logic.redo()
        assert node.GetSegmentation().GetNumberOfSegments() == 1
