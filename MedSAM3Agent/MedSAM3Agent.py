"""The MedSAM3 Agent module of 3D Slicer: registration, panel, self-test. The agent itself is MedSAM3AgentLib."""

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


class MedSAM3Agent(ScriptedLoadableModule):
    """Registers the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedSAM3 Agent")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["MedSAM3Segment"]
        self.parent.contributors = ["MedSAM3 for 3D Slicer contributors"]
        self.parent.helpText = _(
            "Describe a finding in a sentence, and an agent proposes a segmentation, looks at it and refines it."
            " See the <a href='https://github.com/SlicerMedSAM3/SlicerMedSAM3'>documentation</a>."
        )
        self.parent.acknowledgementText = _("For research, not for clinical use.")


class MedSAM3AgentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel's life in Slicer; what it does is in MedSAM3AgentPanelLib."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None

    def setup(self):
        # First what a developer needs when nothing else can be loaded.
        ScriptedLoadableModuleWidget.setup(self)
        from MedSAM3AgentPanelLib.panel import AgentPanel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedSAM3Agent.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = MedSAM3AgentLogic()
        self.panel = AgentPanel(self.ui, self.logic, self.resourcePath("Tutorial/organ-that-makes-bile.jsonl"))
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEnd)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEnd)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAddedOrRemoved)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeAddedOrRemoved)
        self.panel.connect_scene()

    def cleanup(self):
        """Called when Slicer closes the module, and before it is loaded again."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
        if self.logic is not None:
            self.logic.close()

    def onReload(self):
        """Load this file again, and what the agent is made of."""
        from MedSAM3AgentPanelLib.reloading import packages_loaded_again

        with packages_loaded_again():
            ScriptedLoadableModuleWidget.onReload(self)

    def enter(self):
        self.panel.connect_scene()

    def exit(self):
        self.panel.disconnect_scene()

    def onSceneStartClose(self, _caller=None, _event=None):
        self.panel.scene_closes()

    def onSceneStartImport(self, _caller=None, _event=None):
        self.panel.scene_is_imported()

    def onSceneEnd(self, _caller=None, _event=None):
        if self.parent.isEntered:
            self.panel.connect_scene()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAddedOrRemoved(self, _caller, _event, node):
        if node.IsA("vtkMRMLSegmentationNode"):
            self.panel.nodes_changed()


class MedSAM3AgentLogic(ScriptedLoadableModuleLogic):
    """The agent, for the panel and for Slicer's Python console.

    In the console, waiting for the result while the window stays alive::

        from MedSAM3Agent import MedSAM3AgentLogic
        logic = MedSAM3AgentLogic()
        run = logic.ask(slicer.util.getNode("CT"), "the mass in the right kidney")
        print(run.why, run.rounds[-1].node.GetName())

    and, once a slice of it was corrected in the Segment Editor::

        logic.goOn(run.rounds[-1].node)
        logic.goOn(run.rounds[-1].node, "without the cyst")

    or going on at once::

        job = logic.start(slicer.util.getNode("CT"), "liver and spleen", onRound=lambda one: print(one.tried))
        job.cancel()

    Args:
        segmenter: used in this process instead of the engine (anything with ``Segmenter.segment``).
        engine: who takes the requests (anything with ``EngineClient.submit``); None for the engine of the settings.
    """

    def __init__(self, segmenter=None, engine=None):
        ScriptedLoadableModuleLogic.__init__(self)
        from MedSAM3AgentWidgetsLib.agent_runs import AgentRuns

        self._runs = AgentRuns(segmenter, engine)

    segmenter = property(lambda self: self._runs.segmenter, lambda self, given: setattr(self._runs, "segmenter", given))

    def ask(
        self,
        volumeNode,
        text,
        language="rules",
        rounds=3,
        onRound=None,
        progress=None,
        cancel=None,
        onConsent=None,
        calls=10,
        plane="acquired",
        window=None,
        threshold=None,
        slices=None,
        model="demo",
        device="auto",
        policy=None,
        certificate=None,
    ):
        """Segment what ``text`` describes, round by round in the scene, and return; the window stays alive.

        :param volumeNode: scalar or color volume node.
        :param text: one or more sentences, such as ``"the mass in the right kidney, without the cyst"``.
        :param language: ``rules``, ``local:FOLDER``, ``URL#MODEL``, a MedSAM3AgentLib backend, or
            ``{"replay": PATH}`` for the recorded replies of a transcript.
        :param rounds: most rounds, 1 to 5.
        :param onRound: called with a MedSAM3AgentSceneLib.rounds.scene_round.SceneRound once it is in the scene.
        :param progress: called with a MedSAM3SegmentLib.progress.Progress.
        :param cancel: asked between steps; returning True ends the run, and the rounds that are done stay.
        :param onConsent: asked with a MedSAM3AgentLib.sending.disclosure.Disclosure before the first question
            on a volume goes to a host that is not this computer; without it the answer is no.
        :param calls: most questions to the language model.
        :param plane, window, threshold, slices, model, device: as ``MedSAM3SegmentLogic.segment`` takes them.
        :param policy: JSON file of hosts that the institution allows, besides the one for all users.
        :param certificate: PEM file of the authority that signed the language model's server.
        :return: the MedSAM3AgentSceneLib.rounds.agent_run.AgentRun.
        :raises MedSAM3SegmentLib.errors.MedSAM3Error: with one sentence that says what to do; no round was made.
        """
        from MedSAM3AgentSceneLib.rounds.agent_spec import ask_spec

        spec = ask_spec(
            volumeNode,
            text,
            self._language(language, policy, certificate),
            rounds=rounds,
            calls=calls,
            plane=plane,
            window=window,
            threshold=threshold,
            slices=slices,
            model=model,
            device=device,
        )
        return self._runs.finish(spec, onRound, progress, cancel, onConsent)

    def start(
        self,
        volumeNode,
        text,
        onProgress=None,
        onRound=None,
        onDone=None,
        onFailed=None,
        onConsent=None,
        language="rules",
        policy=None,
        certificate=None,
        key=None,
        **options,
    ):
        """Begin a request and return at once; a request of this logic that is on its way is ended, its rounds stay.

        :param onProgress: called with a MedSAM3SegmentLib.progress.Progress.
        :param onRound: called with a MedSAM3AgentSceneLib.rounds.scene_round.SceneRound once it is in the scene.
        :param onDone: called with the AgentRun.
        :param onFailed: called with the error, a MedSAM3SegmentLib.errors.Cancelled when somebody ended it before the
            first round, a node was removed or the scene closed.
        :param key: of the language model's server; None for that of the environment. Scenes, logs and transcripts
            never have it.
        :param options: as ``ask`` takes them.
        :return: a MedSAM3WidgetsLib.run_timer.RunTimer with ``cancel()``, ``ended`` and ``run``.
        :raises MedSAM3SegmentLib.errors.MedSAM3Error: the request cannot begin.
        """
        from MedSAM3AgentSceneLib.rounds.agent_spec import ask_spec

        spec = ask_spec(volumeNode, text, self._language(language, policy, certificate, key), **options)
        return self._runs.start(spec, onProgress, onRound, onDone, onFailed, onConsent)

    def goOn(
        self,
        roundNode,
        text="",
        language="rules",
        rounds=3,
        onRound=None,
        progress=None,
        cancel=None,
        onConsent=None,
        calls=10,
        roi=None,
        policy=None,
        certificate=None,
        **options,
    ):
        """Go on from a round as it stands now: what was edited, deleted, renamed or typed counts; returns as ``ask``.

        Slices that were changed by hand come back as they are, to the voxel. A segment that was deleted is not proposed
        again. One that was renamed is looked for by its new name, and one that was added is followed. The round itself
        is not changed; new rounds have it as their parent.

        :param roundNode: segmentation node of a round.
        :param text: an edit command such as ``shrink 2 mm``, or a further request such as ``without the cyst``,
            ``only inside the liver``, ``instead the spleen`` or ``also the spleen``.
        :param roi: a markups ROI node that everything that is looked for must lie in.
        :param options: ``plane``, ``window``, ``threshold``, ``slices``, ``model`` and ``device``; those of the round
            where they are not given.
        """
        from MedSAM3AgentSceneLib.rounds.agent_spec import go_on_spec

        chosen = self._language(language, policy, certificate)
        spec = go_on_spec(roundNode, text, chosen, roi=roi, rounds=rounds, calls=calls, **options)
        return self._runs.finish(spec, onRound, progress, cancel, onConsent)

    def startGoOn(
        self,
        roundNode,
        text="",
        onProgress=None,
        onRound=None,
        onDone=None,
        onFailed=None,
        onConsent=None,
        language="rules",
        policy=None,
        certificate=None,
        key=None,
        **options,
    ):
        """Begin to go on from a round and return at once; see ``goOn`` and ``start``."""
        from MedSAM3AgentSceneLib.rounds.agent_spec import go_on_spec

        spec = go_on_spec(roundNode, text, self._language(language, policy, certificate, key), **options)
        return self._runs.start(spec, onProgress, onRound, onDone, onFailed, onConsent)

    def keep(self, roundNode):
        """Make what a round found ordinary segments of a segmentation of their own, as one undo.

        :return: the new segmentation node; its segments are named as asked.
        :raises MedSAM3SegmentLib.errors.MedSAM3Error: there is nothing to keep.
        """
        return self._runs.keep(roundNode)

    def command(self, segmentationNode, text, segments=None):
        """Do edit commands such as ``keep the largest; shrink 2 mm`` to segments, as one undo.

        :param segments: names or IDs of segments, or None for those that the text names or else the only one.
        :return: a MedSAM3AgentSceneLib.editing.run_command.CommandOutcome.
        """
        from MedSAM3AgentSceneLib.editing.run_command import run_command

        self._runs.hold_history()
        return run_command(segmentationNode, text, self._segmentIds(segmentationNode, segments))

    def undo(self):
        """Take back what was done last to segmentations of the scene, by this logic or another; False for nothing."""
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
        """End what is on its way, because the module goes away."""
        self._runs.close()

    @staticmethod
    def _segmentIds(segmentationNode, segments):
        if segments is None:
            return None
        from MedSAM3SceneLib.requests.drawn_prompts import segment_ids_named
        from MedSAM3SegmentLib.errors import InputError

        segmentation, ids = segmentationNode.GetSegmentation(), []
        for given in [segments] if isinstance(segments, str) else segments:
            found = [given] if segmentation.GetSegment(given) else segment_ids_named(segmentation, given)
            if len(found) != 1:
                raise InputError(
                    "'{segmentation}' holds no single segment '{segment}'; give its name or its ID.",
                    segmentation=segmentationNode.GetName(),
                    segment=given,
                )
            ids += found
        return ids

    @staticmethod
    def _language(given, policy=None, certificate=None, key=None):
        from pathlib import Path

        from MedSAM3AgentLib.sending.consent import Policy
        from MedSAM3AgentSceneLib.languages.choose_language import LanguageChoice
        from MedSAM3AgentWidgetsLib.agent_runs import consent_of_session

        consent = consent_of_session()
        if policy is not None:
            consent = consent.narrowed(Policy.read(Path(policy)))
        return LanguageChoice(given, None if certificate is None else Path(certificate), key, consent)


class MedSAM3AgentTest(ScriptedLoadableModuleTest):
    """Self-test; needs no model, no language model and no network: a script answers in place of both."""

    def setUp(self):
        slicer.mrmlScene.Clear(False)

    def tearDown(self):
        slicer.mrmlScene.Clear(False)

    def runTest(self):
        for test in (
            self.test_rules,
            self.test_language_model,
            self.test_keep_and_undo,
            self.test_cancel,
            self.test_panel,
        ):
            self.setUp()
            test()
        self.tearDown()

    def makeVolume(self):
        """A volume node in which the liver has the value 1 and the spleen the value 2."""
        import numpy as np

        array = np.zeros((12, 20, 22), np.int16)
        array[2:9, 2:10, 2:12] = 1
        array[3:8, 12:18, 14:20] = 2
        return slicer.util.addVolumeFromArray(array, name="phantom")

    def makeSegmenter(self, secondsASlice=0.0):
        from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter

        return FakeSegmenter({"liver": 1, "spleen": 2}, secondsASlice)

    def check(self, node, name, volume, value):
        """Whether the segment ``name`` holds the voxels of a value, and no others."""
        segmentId = node.GetSegmentation().GetSegmentIdBySegmentName(name)
        assert segmentId, f"there is no segment {name}"
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volume)
        assert ((mask > 0) == (slicer.util.arrayFromVolume(volume) == value)).all()

    def test_rules(self):
        self.delayDisplay("A request without a language model")
        volume = self.makeVolume()
        run = MedSAM3AgentLogic(self.makeSegmenter()).ask(volume, "liver and spleen")

        assert run.rounds
        assert run.why
        self.check(run.rounds[-1].node, "liver", volume, 1)
        self.check(run.rounds[-1].node, "spleen", volume, 2)
        assert run.rounds[-1].page.startswith(b"\x89PNG")

    def test_language_model(self):
        self.delayDisplay("A request that a language model understands")
        from MedSAM3AgentSceneLib.testing.scripted_backend import ScriptedBackend

        volume = self.makeVolume()
        backend = ScriptedBackend([{"targets": [{"phrase": "spleen"}], "rationale": "."}, *[{"verdict": "accept"}] * 9])
        run = MedSAM3AgentLogic(self.makeSegmenter()).ask(volume, "the organ that stores platelets", language=backend)

        assert backend.questions
        assert [verdict.name for verdict in run.rounds[-1].verdicts] == ["spleen"]
        self.check(run.rounds[-1].node, "spleen", volume, 2)

    def test_keep_and_undo(self):
        self.delayDisplay("Keep, undo, redo")
        volume = self.makeVolume()
        logic = MedSAM3AgentLogic(self.makeSegmenter())
        run = logic.ask(volume, "liver")
        count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")

        self.check(logic.keep(run.rounds[-1].node), "liver", volume, 1)
        assert logic.undo()
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count
        assert logic.undo()
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
        assert logic.redo()
        self.check(run.rounds[-1].node, "liver", volume, 1)

    def test_cancel(self):
        if not hasattr(slicer.app, "layoutManager"):
            return  # a scene without Slicer's timers
        self.delayDisplay("Stop")
        done, failed = [], []
        logic = MedSAM3AgentLogic(self.makeSegmenter(secondsASlice=0.2))
        job = logic.start(self.makeVolume(), "liver", onDone=done.append, onFailed=failed.append)
        job.cancel()
        while not job.ended:
            slicer.app.processEvents()
        assert not done
        assert failed
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0

    def test_panel(self):
        if not hasattr(slicer.app, "layoutManager") or slicer.util.mainWindow() is None:
            return  # no window to open the panel in
        self.delayDisplay("The panel")
        slicer.util.selectModule("MedSAM3Agent")
        widget = slicer.util.getModuleWidget("MedSAM3Agent")
        before, widget.logic.segmenter = widget.logic.segmenter, self.makeSegmenter()
        try:
            widget.ui.volumeSelector.setCurrentNode(self.makeVolume())
            widget.ui.languageSelector.setCurrentIndex(0)
            widget.ui.requestEdit.plainText = "liver"
            widget.ui.askButton.click()
            while widget.panel.is_busy:
                slicer.app.processEvents()
            assert len(widget.panel.rounds.cards) >= 1
            assert widget.ui.answerTable.item(0, 0).text() == "liver"
        finally:
            widget.logic.segmenter = before
