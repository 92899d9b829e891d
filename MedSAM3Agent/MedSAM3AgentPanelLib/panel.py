"""The agent's panel as a whole: its parts, and what happens from Ask to the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound, round_of
from MedSAM3AgentSceneLib.translation.translate import translated
from MedSAM3AgentWidgetsLib.command_line import CommandLine
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SegmentLib.errors import Cancelled, MedSAM3Error
from MedSAM3WidgetsLib.scrolling import scroll_into_view
from MedSAM3WidgetsLib.window_timer import WindowTimer
from MedSAM3WidgetsLib.wrapped_labels import keep_labels_readable

from .answer_section import AnswerSection
from .cards.beside_section import BesideSection
from .cards.round_card import CardActions
from .cards.rounds_section import RoundsSection, nodes_of_rounds
from .language.consent_dialog import ask_consent
from .language.language_section import LanguageSection
from .request_form import RequestForm
from .run_display import RunDisplay

#: Milliseconds after which the cards follow nodes that came or went, once for all that did.
_FOLLOW_MS = 50


class AgentPanel:
    """Everything below the panel's top widget.

    Args:
        ui: its widgets by name.
        logic: the MedSAM3AgentLogic that does what is asked.
        record: the transcript that comes with the module.
    """

    def __init__(self, ui: Any, logic: Any, record: str = "") -> None:
        self.ui = ui
        self.logic = logic
        self._job: Any = None
        #: Of the request on its way; who calls back with another one is of an earlier request.
        self._turn: object = None
        self._is_closed = False
        self.display = RunDisplay(ui.progressBar, ui.progressLabel, ui.budgetLabel)
        self.answer = AnswerSection(ui)
        self.rounds = RoundsSection(ui, CardActions(self.keep, self.go_on, self.show_beside, self._opened))
        self.beside = BesideSection(ui, self.update, self._say)
        self.command = CommandLine(ui.commandPlace.layout(), self._command_target, self.update, has_undo=False)
        self.form = RequestForm(ui, self._choices_changed, self.ask)
        self.language = LanguageSection(ui, self.update, self.form.set_text, record)
        self.labels = keep_labels_readable(ui)
        self._follow_timer = WindowTimer(self._follow_nodes, is_once=True)
        for button, does in (
            (ui.askButton, self.ask),
            (ui.stopButton, self.stop),
            (ui.undoButton, self.undo),
            (ui.redoButton, self.redo),
        ):
            button.connect("clicked()", does)
        self._shown_volume: Any = None
        self._say("")
        self.update()

    def connect_scene(self) -> None:
        """Work with the scene as it is now."""
        node = self.logic.getParameterNode()
        if self.form.parameters is None or self.form.parameters.parameterNode is not node:
            self.form.connect(node)
        self.follow_rounds()
        self.update()

    def disconnect_scene(self) -> None:
        """Another module is shown; a request goes on."""
        if not self.is_busy:
            self.form.disconnect()

    def scene_is_imported(self) -> None:
        """Choices come with a scene, and nodes that selectors choose by themselves; those are nobody's choice."""
        self.form.disconnect()
        self.update()

    def scene_closes(self) -> None:
        """Let go of all that is in the scene."""
        self._job = self._turn = None
        self.display.end()
        self.form.disconnect()
        self._follow_timer.stop()
        self.command.stop(_("The scene was closed; nothing was changed."))
        self.beside.hide()
        self.rounds.clear()
        self.answer.clear()
        self._shown_volume = None
        self._say("")
        self.update()

    def nodes_changed(self) -> None:
        """Rounds may have come or gone."""
        if not self._is_closed:
            self._follow_timer.start(_FOLLOW_MS)

    def close(self) -> None:
        """The panel goes away."""
        self._is_closed = True
        self._job = self._turn = None
        self._follow_timer.stop()
        self.display.end()
        self.beside.hide()
        self.rounds.clear()
        self.command.close()
        self.language.close()
        self.form.close()

    @property
    def is_busy(self) -> bool:
        return self._job is not None

    def ask(self) -> None:
        """Begin with what is chosen; a second click does nothing."""
        if self.is_busy or self._why_not():
            return
        volume, text = self.form.volume, self.form.parameters.text.strip()
        self._begin(lambda told: self.logic.start(volume, text, **told))

    def go_on(self, one: SceneRound, text: str) -> None:
        """Begin new rounds from one as it is now."""
        if not self.is_busy and not self.language.why_not():
            self._begin(lambda told: self.logic.startGoOn(one.node, text, **told))

    def stop(self) -> None:
        """Ask the request to end; the rounds that are done stay."""
        if self._job is not None:
            self.display.show_stopping()
            self._job.cancel()

    def keep(self, one: SceneRound) -> None:
        """Make a round's objects ordinary segments."""
        node = self._tried(lambda: self.logic.keep(one.node))
        if node is not None:
            self._say(_("Kept as the segmentation {name}; Undo takes it back.").format(name=node.GetName()))
        self.update()

    def show_beside(self, one: SceneRound) -> None:
        """Show a round beside the one before it."""
        other = self.rounds.before(one)
        if other is not None:
            earlier, later = sorted((one, other), key=lambda each: each.number)
            self.beside.show(earlier, later, self.form.volume, self._show_failure)

    def undo(self) -> None:
        """Take the last change of a segmentation back."""
        self._say(_("Undone.") if self.logic.undo() else "")
        self.update()

    def redo(self) -> None:
        """Do again what was undone."""
        self.logic.redo()
        self._say("")
        self.update()

    def follow_rounds(self, news: SceneRound | None = None) -> None:
        """Show the rounds of the chosen volume that are in the scene now; ``news`` was read already."""
        volume = self.form.volume
        self.rounds.show(nodes_of_rounds(volume), round_of, news)
        self._shown_volume = volume
        newest = self.rounds.newest
        if self.is_busy:
            return
        # Why a request ended is written into its last round later than its card is made.
        last = round_of(newest.round.node) if newest is not None else None
        if last is None or not last.stop:
            self.answer.clear()
        else:
            self.answer.show(last)

    def update(self) -> None:
        """Enable what can be pressed, and let the rest say why it cannot."""
        if self._is_closed:
            return
        reason = _("A request is on its way.") if self.is_busy else self._why_not()
        ui = self.ui
        ui.askButton.enabled = not reason
        ui.askButton.toolTip = reason or _("Segment what the request describes.")
        ui.stopButton.enabled = self.is_busy
        ui.undoButton.enabled = not self.is_busy and self.logic.canUndo()
        ui.redoButton.enabled = not self.is_busy and self.logic.canRedo()
        self.rounds.enable(not self.is_busy, lambda one: self.rounds.before(one) is not None)
        current = self.rounds.current
        ui.commandSection.visible = current is not None
        if current is not None:
            ui.commandTargetLabel.text = _("Edits round {number}, whose card is open:").format(number=current.number)
        self.command.set_enabled(current is not None and not self.is_busy)
        self.language.update()

    def _begin(self, start: Callable[[dict[str, Any]], Any]) -> None:
        self._say("")
        self.beside.hide()
        self.answer.clear()
        self.display.begin(self.form.parameters.rounds, self.form.parameters.calls)
        turn = self._turn = object()

        def if_wanted(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda news: call(news) if self._turn is turn else None

        def may_send(disclosure: Any) -> bool:
            # The window goes on while the question waits: the scene may be closed meanwhile.
            return self._turn is turn and ask_consent(disclosure) and self._turn is turn

        told = {
            "onProgress": if_wanted(self.display.show),
            "onRound": if_wanted(self._round_done),
            "onDone": if_wanted(self._done),
            "onFailed": if_wanted(self._failed),
            "onConsent": may_send,
            **self.form.options(),
        }
        try:
            self._job = start({**self.language.options(), **told})
        except Exception as error:
            self._failed(error)
            return
        self.update()

    def _round_done(self, done: SceneRound) -> None:
        self.display.count_round(done)
        self.follow_rounds(done)
        self.update()
        if self.rounds.newest is not None:
            scroll_into_view(self.rounds.newest.section, self.rounds.newest.section)

    def _done(self, _run: Any) -> None:
        self._end_job()
        self.follow_rounds()
        self.update()
        scroll_into_view(self.ui.answerSection, self.ui.answerSection)

    def _failed(self, error: Exception) -> None:
        self._end_job()
        self.follow_rounds()
        self._show_failure(error, "a request broke off.")
        self.update()

    def _end_job(self) -> None:
        self._job = self._turn = None
        self.display.end()

    def _tried(self, work: Callable[[], Any]) -> Any:
        """What comes of ``work``; where it fails, that is said and None is given."""
        try:
            return work()
        except Exception as error:
            self._show_failure(error)
            return None

    def _show_failure(self, error: Exception, what: str = "a button of a round could not do what it says.") -> None:
        words = translated(str(error))
        self._say(words)
        if not isinstance(error, MedSAM3Error):
            log_failure(what, error)
        if not isinstance(error, Cancelled):
            slicer.util.errorDisplay(words, windowTitle=_("MedSAM3 Agent"))

    def _opened(self, one: SceneRound) -> None:
        """Show the round of the opened card in the views, in place of the others."""
        self._say("")
        self.beside.hide()
        for card in self.rounds.cards:
            display = card.round.node.GetDisplayNode()
            if display is not None:
                display.SetVisibility(card.round is one)
        self.update()

    def _command_target(self) -> Any:
        """What the command line edits."""
        return getattr(self.rounds.current, "node", None)

    def _choices_changed(self) -> None:
        if self.form.volume is not self._shown_volume:
            self.follow_rounds()
        self.update()

    def _follow_nodes(self) -> None:
        self._follow_timer.stop()
        self.beside.follow_nodes()
        self.follow_rounds()
        self.update()

    def _why_not(self) -> str:
        return self.form.why_not() or self.language.why_not()

    def _say(self, words: str) -> None:
        """Show ``words`` below the buttons; nothing takes no room."""
        self.ui.messageLabel.text = words
        self.ui.messageLabel.visible = bool(words)
