"""The MedSAM3 Segment module of 3D Slicer: registration, panel, logic for the console, self-test.

Thin on purpose: the engine is MedSAM3SegmentLib, the way between it and the scene MedSAM3SceneLib. Both are imported
when they are first used, so that Slicer starts as fast as without them.
"""

import slicer
import vtk
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
        slicer.app.connect("aboutToQuit()", _endAll)
        for offer in (self.offerSampleData, self.offerEffect):
            if _isStarted():
                offer()
            else:
                slicer.app.connect("startupCompleted()", offer)

    def offerSampleData(self):
        """Offer synthetic abdomens in the Sample Data module; they are made on the spot, not downloaded."""
        from MedSAM3SceneLib.mrml.sample_source import register_sample_data

        register_sample_data(self.resourcePath("Icons/MedSAM3Segment.png"))

    def offerEffect(self):
        """Offer the MedSAM3 effect in the Segment Editor."""
        from SegmentEditorMedSAM3Lib.registration import register_effect

        register_effect()


def _endAll():
    """End runs and engine because Slicer quits."""
    from MedSAM3SceneLib.application_quit import end_all

    end_all()


def _isStarted():
    """Whether Slicer's start is over, as when the module file is dropped into its window."""
    window = slicer.util.mainWindow()
    return window is not None and window.visible


class MedSAM3SegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel's life in Slicer; what it does is in MedSAM3PanelLib."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None

    def setup(self):
        # First what a developer needs when nothing else can be loaded.
        ScriptedLoadableModuleWidget.setup(self)
        from MedSAM3PanelLib.panel import Panel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedSAM3Segment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = MedSAM3SegmentLogic()
        self.panel = Panel(self.ui, self.logic, self.resourcePath("requirements.txt"))
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAddedOrRemoved)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeAddedOrRemoved)
        layoutManager = slicer.app.layoutManager()
        if layoutManager is not None:
            layoutManager.connect("layoutChanged(int)", self.onLayoutChanged)
        self.panel.connect_scene()

    def cleanup(self):
        """Called when Slicer closes the module, and before it is loaded again."""
        self.removeObservers()
        layoutManager = slicer.app.layoutManager()
        if layoutManager is not None:
            layoutManager.disconnect("layoutChanged(int)", self.onLayoutChanged)
        if self.panel is not None:
            self.panel.close()
        if self.logic is not None:
            self.logic.close()

    def onReload(self):
        """Load this file again, and what panel and effect are made of; effects in Segment Editors become new ones."""
        from MedSAM3PanelLib.reloading import packages_loaded_again
        from SegmentEditorMedSAM3Lib.living_effects import living_hosts

        hosts = living_hosts()
        with packages_loaded_again():
            ScriptedLoadableModuleWidget.onReload(self)
        from SegmentEditorMedSAM3Lib.living_effects import renew_effect

        for host in hosts:
            renew_effect(host)

    def enter(self):
        self.panel.connect_scene()

    def exit(self):
        self.panel.disconnect_scene()

    def onSceneStartClose(self, _caller=None, _event=None):
        self.panel.scene_closes()

    def onSceneEndClose(self, _caller=None, _event=None):
        if self.parent.isEntered:
            self.panel.connect_scene()

    def onSceneStartImport(self, _caller=None, _event=None):
        self.panel.scene_is_imported()

    def onSceneEndImport(self, _caller=None, _event=None):
        if self.parent.isEntered:
            self.panel.connect_scene()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAddedOrRemoved(self, _caller, _event, node):
        if node.IsA("vtkMRMLSliceNode"):
            self.panel.views_changed()

    def onLayoutChanged(self, _layout):
        self.panel.views_changed()


class MedSAM3SegmentLogic(ScriptedLoadableModuleLogic):
    """Segmentation by phrases, for the panel and for Slicer's Python console.

    In the console, waiting for the result while the window stays alive::

        from MedSAM3Segment import MedSAM3SegmentLogic
        logic = MedSAM3SegmentLogic()
        segmentation = logic.segment(slicer.util.getNode("CT"), ["liver", "spleen"])
        print("\\n".join(logic.messages))
        logic.undo()

    or going on at once::

        job = logic.start(
            slicer.util.getNode("CT"), "liver; spleen", mode="propagate",
            onDone=lambda run: print("\\n".join(run.messages)), onFailed=print,
        )
        job.cancel()

    or with regions: tumors inside a liver that is segmented in the same run, or that was segmented before, in the box
    of a region of interest::

        logic.segment(volume, "liver; tumor", inside="liver")
        logic.segment(volume, "tumor", segmentation, inside=(segmentation, "liver"), roi=slicer.util.getNode("R"))

    or without words, like what was segmented in another volume, or on some slices of the same one (needs a model with
    a tracker; without one, and with ``model="none"``, what lies between slices of the same volume is filled)::

        logic.segment(volume, like=(slicer.util.getNode("OtherCT"), slicer.util.getNode("OtherSegmentation")))
        logic.segment(volume, "left kidney", like=[(volume, drawn), (otherVolume, otherSegmentation)], mode="propagate")

    Args:
        segmenter: used in this process instead of the engine (anything with ``Segmenter.segment``).
        engine: who takes the requests (anything with ``EngineClient.submit``); None for the engine process, which is
            started when it is first needed, or the remote engine of the application settings.

    Attributes:
        segmenter: as given; may be changed between runs.
        result: the SegmentResult (MedSAM3SegmentLib.results.result) of the last run: scores by slice, masks,
            instances. Like the next ones None before the first run in a scene.
        written: the WrittenResult (MedSAM3SceneLib.editing.write_result) of the last run: which segment holds which
            concept.
        messages: what the user should know of the last run, one sentence each.
        last: the MedSAM3SceneLib.runs.segmentation_run.ResultRun of the last run that wrote something.
    """

    def __init__(self, segmenter=None, engine=None):
        from MedSAM3WidgetsLib.run_manager import RunManager

        ScriptedLoadableModuleLogic.__init__(self)
        self._runs = RunManager(segmenter, engine)

    segmenter = property(lambda self: self._runs.segmenter, lambda self, given: setattr(self._runs, "segmenter", given))
    result = property(lambda self: self._runs.result)
    written = property(lambda self: self._runs.written)
    messages = property(lambda self: self._runs.messages)
    last = property(lambda self: self._runs.last)

    def segment(
        self,
        volumeNode,
        concepts=None,
        segmentationNode=None,
        plane="acquired",
        window=None,
        threshold=None,
        slices=None,
        model="demo",
        device="auto",
        progress=None,
        cancel=None,
        mode="slices",
        prompts=None,
        roi=None,
        inside=None,
        morePlanes=(),
        grouping="one segment per concept",
        view=None,
        partial=None,
        like=None,
        assembly=None,
        replaceCompleted=False,
        adapt=None,
        adaptName="",
        locate=None,
        skim=1,
        sliceDistance=0.0,
        draft=False,
    ):
        """Segment ``volumeNode``, write one segment per concept that was found, and return; the window stays alive.

        :param volumeNode: scalar or color volume node. Of a sequence, the frame that is shown.
        :param concepts: phrases, such as ``["liver", "left kidney"]``, or one text with ``;`` between them. With
            ``like`` the names of segments, None for all of them.
        :param segmentationNode: where to write; None makes a new node. Segments of an earlier run are updated, those of
            other origin kept as masking and overwrite mode of a Segment Editor that is open on the node ask for, and
            ``messages`` says what they lost. Concepts of one run never overwrite each other.
        :param plane: ``acquired``, ``axial``, ``coronal`` or ``sagittal``.
        :param window: preset name such as ``liver``, (low, high), or None for each concept's own.
        :param threshold: lowest score that is kept, 0 to 1, or None for the model's own.
        :param slices: (first, end) along the stack, end not included, or None for all.
        :param model: ``demo``, a folder, or a hub id; ``none`` fills between drawn slices without any, in the mode
            ``from prompts`` or with ``like`` in ``volumeNode`` itself.
        :param device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        :param progress: called with a MedSAM3SegmentLib.progress.Progress.
        :param cancel: asked between steps; returning True ends the run.
        :param mode: ``slices``, ``propagate`` or ``from prompts``. For the last one, draw a slice of each object in
            a segment of ``segmentationNode`` that has the concept's name, or give ``prompts``.
        :param prompts: MedSAM3SegmentLib.prompts.prompts.TargetPrompts by concept.
        :param roi: a markups ROI node; only what is in its box is segmented.
        :param inside: (segmentation node, name or ID of a segment); only what is inside it is segmented. Or words: one
            of the concepts, inside which the others must be, or a phrase that is only looked for first.
        :param morePlanes: planes to look along as well; the answers are averaged.
        :param grouping: ``one segment per concept`` or ``one segment per instance``.
        :param view: a slice node; only the slice it shows is segmented.
        :param partial: called with a MedSAM3SceneLib.runs.listener.PlacedPartial as slices become known.
        :param like: (volume node, segmentation node), or a list of such pairs; what their segments show is found, and
            the concepts are only its names. Slices that are segmented in ``volumeNode`` itself come back as they are.
        :param locate: (volume node, segmentation node), or a list of such pairs, of the same kind of image; each
            concept is searched only where it lies by them, and not at all where that is outside of the field of view.
        :param assembly: clean-up steps to switch, such as ``{"largest_only": True, "fill_gaps": False}``; the names are
            those of MedSAM3SegmentLib.request.AssemblyOptions, which can be given too.
        :param replaceCompleted: whether segments of earlier runs that are marked as completed may be written again.
        :param adapt: ``slices`` to let a copy of the model learn from the drawn slices first, which takes a minute or
            two; it is used only where it does better on drawn slices that were held out, and ``messages`` says so.
        :param adaptName: what to keep it as among the engine's models, where it is used; nothing is kept without one.
        :param skim: every how many slices to look first, and then only where something may be; 1 looks at all. In the
            mode ``slices`` alone, and refused for what may be smaller than the step; ``messages`` says so.
        :param sliceDistance: slices nearer to each other than this, in mm, are interpolated; 0 interpolates none.
        :param draft: True looks with half of the model's own pixels (504 in place of 1008), to see quickly what comes
            out; small structures and edges may be lost, and ``messages`` says so.
        :return: the segmentation node. A concept that was not found has no segment; ``messages`` says so.
        :raises MedSAM3SegmentLib.errors.MedSAM3Error: with one sentence that says what to do; the scene is unchanged.
        """
        from MedSAM3SceneLib.requests.console import parse_spec

        spec = parse_spec(
            volumeNode,
            concepts,
            segmentationNode,
            plane=plane,
            window=window,
            threshold=threshold,
            slices=slices,
            model=model,
            device=device,
            mode=mode,
            prompts=prompts,
            roi=roi,
            inside=inside,
            more_planes=morePlanes,
            grouping=grouping,
            view=view,
            like=like,
            assembly=assembly,
            replace_completed=replaceCompleted,
            adapt=adapt,
            adapt_name=adaptName,
            locate=locate,
            skim=skim,
            slice_distance=sliceDistance,
            draft=draft,
        )
        return self._runs.finish(spec, progress, partial, cancel)

    def start(
        self,
        volumeNode,
        concepts=None,
        segmentationNode=None,
        onProgress=None,
        onPartial=None,
        onDone=None,
        onFailed=None,
        onEdited=None,
        **options,
    ):
        """Begin a segmentation and return at once; a run of this logic that is on its way is dropped.

        :param onProgress: called with a MedSAM3SegmentLib.progress.Progress.
        :param onPartial: called with a MedSAM3SceneLib.runs.listener.PlacedPartial: one concept on one slice.
        :param onDone: called with the MedSAM3SceneLib.runs.segmentation_run.SegmentationRun; its ``written`` and
            ``messages`` say what is in the scene now.
        :param onFailed: called with the error, a MedSAM3SegmentLib.errors.Cancelled when somebody cancelled the run,
            a node was removed or the scene closed. The scene is unchanged then.
        :param onEdited: asked with the names of segments of earlier runs that were edited since, reach beyond what is
            looked at or are marked as completed, if this run would write any; False ends it. Without it they are
            written, and ``undo`` brings back what they held, but for completed ones: these end the run unless
            ``replaceCompleted`` is True.
        :param options: as ``segment`` takes them.
        :return: a MedSAM3WidgetsLib.run_timer.RunTimer with ``cancel()``, ``ended`` and ``run``.
        :raises MedSAM3SegmentLib.errors.MedSAM3Error: the run cannot begin.
        """
        from MedSAM3SceneLib.requests.console import parse_spec

        told = {"progress": onProgress, "partial": onPartial}
        told |= {"waiting": options.pop("onWaiting", None), "said": options.pop("onSaid", None)}
        options |= {"more_planes": options.pop("morePlanes", ())}
        options |= {"replace_completed": options.pop("replaceCompleted", False)}
        options |= {"adapt_name": options.pop("adaptName", "")}
        options |= {"slice_distance": options.pop("sliceDistance", 0.0)}
        spec = parse_spec(volumeNode, concepts, segmentationNode, **options)
        return self._runs.start(spec, told, onDone, onFailed, onEdited)

    def startPreview(self, volumeNode, concepts, sliceNode, onDone=None, onFailed=None, **options):
        """Begin to segment the one slice that a view shows, at any angle; nothing is written.

        The answer is what ``segment`` would give on that slice, as far as it alone can tell.

        :param sliceNode: the slice node of the view.
        :param onDone: called with the run; its ``result`` is of ``run.placed``.
        :param onFailed: called with the error.
        :param options: ``window``, ``threshold``, ``roi``, ``inside``, ``assembly``, ``model``, ``device`` and
            ``draft`` as ``segment`` takes them.
        :return: a MedSAM3WidgetsLib.run_timer.RunTimer.
        """
        from MedSAM3SceneLib.requests.console import parse_spec

        return self._runs.start_preview(parse_spec(volumeNode, concepts, view=sliceNode, **options), onDone, onFailed)

    def writeThreshold(self, threshold, onDone=None, onFailed=None, onEdited=None, replaceCompleted=False):
        """Begin to write the last result again, cut at another threshold, as one action; the model does not run.

        What was drawn in its segments since is replaced, and ``undo`` brings it back. Concepts whose segments were
        deleted since stay deleted, unless all of them were.

        :param onEdited: asked with the names of the segments that were edited since or are marked as completed, if
            there are any; False leaves all as it is, which ``onFailed`` is told.
        :param replaceCompleted: whether completed segments may be written where ``onEdited`` is not given.
        :return: a MedSAM3WidgetsLib.run_timer.RunTimer, or None when there is no result.
        """
        return self._runs.start_threshold(threshold, onDone, onFailed, onEdited, replaceCompleted)

    def saveDicom(self, path, segmentationNode, volumeNode):
        """Write segments as a DICOM segmentation (``.dcm``) or structure set (``.rtstruct.dcm``) of a volume's images.

        Needs the package highdicom: ``slicer.util.pip_install("highdicom contourpy")``.

        :param volumeNode: loaded from Slicer's DICOM database, and not moved, cropped or sampled anew since.
        """
        from pathlib import Path

        from MedSAM3SceneLib.segments.dicom_export import copy_for_dicom, write_dicom

        write_dicom(Path(path), copy_for_dicom(segmentationNode, volumeNode))

    def undo(self):
        """Take back what was written last, by this logic or another; False when there is nothing to undo."""
        return self._runs.undo()

    def redo(self):
        """Do again what ``undo`` took back; False when there is nothing to redo."""
        return self._runs.redo()

    def canUndo(self):
        """Whether ``undo`` has something to take back."""
        return self._runs.can_undo

    def canRedo(self):
        """Whether ``redo`` has something to do again."""
        return self._runs.can_redo

    def close(self):
        """Drop what is on its way, because the module goes away."""
        self._runs.close()


class MedSAM3SegmentTest(ScriptedLoadableModuleTest):
    """Self-test with a segmenter without a model: needs neither PyTorch nor a network."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def tearDown(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_one_segment_per_concept()
        self.setUp()
        self.test_undo()
        self.setUp()
        self.test_cancel()
        self.setUp()
        self.test_effect()
        self.setUp()
        self.test_session()
        self.tearDown()

    def makeVolume(self):
        """A volume node in which the liver has the value 1 and the spleen the value 2."""
        import numpy as np

        array = np.zeros((5, 6, 7), np.int16)
        array[1:4, 1:3, 1:6] = 1
        array[1:3, 4:6, 2:5] = 2
        return slicer.util.addVolumeFromArray(array, name="phantom")

    def makeLogic(self):
        from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter

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

    def test_cancel(self):
        if not hasattr(slicer.app, "layoutManager"):
            return  # a scene without Slicer's timers
        self.delayDisplay("Cancel")
        from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter

        logic = MedSAM3SegmentLogic(FakeSegmenter({"liver": 1}, seconds_a_slice=0.2))
        done, failed = [], []
        job = logic.start(self.makeVolume(), "liver", onDone=done.append, onFailed=failed.append)
        job.cancel()
        while not job.ended:
            slicer.app.processEvents()
        assert not done
        assert "cancelled" in str(failed[0])
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0

    def test_effect(self):
        if not hasattr(slicer.app, "layoutManager"):
            return  # a scene without Slicer's widgets
        self.delayDisplay("The Segment Editor effect")
        from MedSAM3SceneLib.engine.local_engine import LocalEngine
        from MedSAM3SceneLib.runs.edit_actions import EditAction
        from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
        from SegmentEditorMedSAM3Lib.registration import EFFECT_NAME, register_effect

        volume = self.makeVolume()
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentId = node.GetSegmentation().AddEmptySegment("", "liver")
        register_effect()
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLScene(slicer.mrmlScene)
        editor.updateEffectList()
        editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
        editor.setSegmentationNode(node)
        editor.setSourceVolumeNode(volume)
        editor.setCurrentSegmentID(segmentId)
        editor.setActiveEffectByName(EFFECT_NAME)
        effect = editor.activeEffect().self()
        effect.engine = lambda: LocalEngine(FakeSegmenter({"liver": 1}))

        effect.session.act(EditAction.WHOLE_VOLUME)
        while effect.session.is_running:
            slicer.app.processEvents()

        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volume)
        assert ((mask > 0) == (slicer.util.arrayFromVolume(volume) == 1)).all()
        editor.undo()
        assert not slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volume).any()
        editor.setActiveEffect(None)
        assert effect.session is None

    def test_session(self):
        """What only Slicer's window shows: drawn pixels, visibility, drawn concepts, a slice of an oblique view."""
        import sys
        from pathlib import Path

        folder = Path(__file__).resolve().parents[1] / "Testing" / "in_slicer"
        if not hasattr(slicer.app, "layoutManager") or slicer.util.mainWindow() is None:
            return  # no views to look at
        if not folder.is_dir():
            self.delayDisplay("The quick checks of a session are left out: an installed extension does not bring them.")
            return
        self.delayDisplay("A session")
        sys.path.append(str(folder))
        try:
            from medsam3_session.quick import failed_quick_checks

            failed = failed_quick_checks()
            assert not failed, "; ".join(failed)
        finally:
            sys.path.remove(str(folder))
