"""What Slicer's Segment Editor calls. Thin: an active effect is an ``session.EffectSession``."""

import os

import qt
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

from .registration import EFFECT_NAME, new_effect


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    """Segments the selected segment by a phrase, and by boxes and points that are drawn in slice views.

    Attributes:
        engine: called for who takes requests (a Engine); a script may set another.
        session: the MedSAM3 effect at work, or None while it is not active.
    """

    def __init__(self, scriptedEffect):
        scriptedEffect.name = EFFECT_NAME  # not translated: scripts find effects by it
        scriptedEffect.title = _("MedSAM3")
        scriptedEffect.perSegment = True
        scriptedEffect.requireSegments = True
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.engine = _engineOfSettings
        self.session = None
        self.options = None

    def clone(self):
        return new_effect()

    def icon(self):
        return qt.QIcon(os.path.join(os.path.dirname(__file__), "..", "Resources", "Icons", "SegmentEditorMedSAM3.png"))

    def helpText(self):
        # Slicer folds away what comes after the first line break.
        return "<html>" + _(
            "Find the selected segment by a phrase, or by what is drawn in slice views<br>."
            "<ul><li><b>Click:</b> a point. <b>Drag:</b> a box. Drag a point, a corner or an edge to move it.</li>"
            "<li><b>n:</b> switch between what is meant and what is not.</li>"
            "<li><b>x:</b> remove the mark under the pointer, or the last one on this slice.</li>"
            "<li><b>Enter:</b> segment this slice. <b>Shift+Enter:</b> propagate from edited slices.</li></ul>"
            "With <b>Answer at once</b>, what is drawn, moved or removed segments its slice without a key."
            " Keys go to the slice view that was clicked last, with any mouse button."
            " Masking, editable intensity range and overwriting hold as for all effects; one undo takes an action back."
        )

    def setupOptionsFrame(self):
        from .options_widget import OptionsWidget

        self.options = OptionsWidget(self.scriptedEffect)
        self.options.connect("act", lambda action: self.session and self.session.act(action))
        self.options.connect("cancel", lambda: self.session and self.session.cancel())
        self.options.connect("phrase", lambda phrase: self.session and self.session.set_phrase(phrase))
        self.options.connect("remove", lambda index: self.session and self.session.remove_prompt(index))
        self.options.connect("remove_all", lambda: self.session and self.session.remove_all_prompts())
        self.options.connect("jump", lambda index: self.session and self.session.jump_to_prompt(index))
        self.options.connect("next_slice", lambda: self.session and self.session.jump_to_next_slice())
        self.options.connect("changed", self.updateMRMLFromGUI)

    def setMRMLDefaults(self):
        if self.scriptedEffect.parameterSetNode() is None:
            return  # the scene is being closed
        self.scriptedEffect.setParameterDefault("Positive", 1)
        self.scriptedEffect.setParameterDefault("Reading", "only this one")
        self.scriptedEffect.setParameterDefault("AnswerAtOnce", 0)

    def updateGUIFromMRML(self):
        if self.options is not None and self.scriptedEffect.parameterSetNode() is not None:
            self.options.positive = self.scriptedEffect.integerParameter("Positive") != 0
            self.options.reading = self.scriptedEffect.parameter("Reading")
            self.options.answers_at_once = self.scriptedEffect.integerParameter("AnswerAtOnce") != 0

    def updateMRMLFromGUI(self):
        self.scriptedEffect.setParameter("Positive", 1 if self.options.positive else 0)
        self.scriptedEffect.setParameter("Reading", self.options.reading)
        self.scriptedEffect.setParameter("AnswerAtOnce", 1 if self.options.answers_at_once else 0)

    def createCursor(self, _viewWidget):
        return qt.QCursor(qt.Qt.CrossCursor)

    def activate(self):
        from .session import EffectSession

        self._endSession(_("The effect was chosen again; nothing was written."))
        self.session = EffectSession(self.scriptedEffect, self.options, lambda: self.engine())
        self.session.begin()
        self.options.bring_into_sight()

    def deactivate(self):
        self._endSession(_("The effect was left; nothing was written."))

    def cleanup(self):
        self._endSession(_("The Segment Editor was closed; nothing was written."))
        if self.options is not None:
            self.options.disconnect()
            self.options = None

    def processInteractionEvents(self, callerInteractor, eventId, viewWidget):
        if self.session is None or viewWidget.className() != "qMRMLSliceWidget":
            return False
        return self.session.process_event(callerInteractor, eventId, viewWidget)

    def processViewNodeEvents(self, _callerViewNode, _eventId, viewWidget):
        if self.session is not None and viewWidget.className() == "qMRMLSliceWidget":
            self.session.show_prompts_in(viewWidget)

    def sourceVolumeNodeChanged(self):
        if self.session is not None:
            self.session.follow_selection()

    def layoutChanged(self):
        if self.session is not None:
            self.session.show_prompts_in_layout()

    def _endSession(self, why):
        if self.session is not None:
            self.session.end(why)
            self.session = None


def _engineOfSettings():
    from MedSAM3SceneLib.engine.connection import engine_from_settings

    return engine_from_settings()
