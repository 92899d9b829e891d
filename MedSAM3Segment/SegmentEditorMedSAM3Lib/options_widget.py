"""The effect's options below the Segment Editor: phrase, polarity, marks, actions, progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from MedSAM3SceneLib.runs.edit_actions import EditAction
from MedSAM3SceneLib.segments.prompts import Prompt
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.prompts.prompts import BoxReading
from MedSAM3WidgetsLib.agent_parts import new_command_line
from MedSAM3WidgetsLib.progress_bar import ProgressBar
from MedSAM3WidgetsLib.scrolling import scroll_into_view

from .action_help import action_help
from .command_target import command_target
from .learning_choice import LearningChoice
from .prompt_list import PromptList

#: Pixels below the actions in which progress or a sentence of some lines is shown.
_MESSAGE_HEIGHT = 60


class OptionsWidget:
    """The widgets.

    Args:
        scripted_effect: the effect's host, which lays them out.

    Attributes:
        progress: the progress bar, a MedSAM3WidgetsLib.progress_bar.ProgressBar.
        learning: whether the model learns from the drawn slices first, and what that is kept as.
        command: the line for commands; None without the agent's module.
    """

    def __init__(self, scripted_effect: Any) -> None:
        self._listeners: dict[str, Callable[..., Any]] = {}
        self._connections: list[tuple[Any, str, Callable[..., Any]]] = []
        self._unready = ""
        self._is_running = False
        self.command: Any | None = None
        self._add_phrase(scripted_effect)
        self._add_drawing(scripted_effect)
        self._add_actions(scripted_effect)
        self._add_progress(scripted_effect)
        self._add_marks(scripted_effect)
        self._add_command(scripted_effect)

    def connect(self, event: str, listener: Callable[..., Any]) -> None:
        """Call ``listener`` when something was clicked.

        Args:
            event: ``act`` (with the action), ``cancel``, ``phrase`` (with the text), ``remove`` and ``jump`` (with the
                number of the mark), ``remove_all``, ``next_slice``, or ``changed`` (polarity, reading or whether
                answers come at once).
        """
        self._listeners[event] = listener

    def disconnect(self) -> None:
        """Call nobody any more; a widget that is still connected would never be freed."""
        self._listeners.clear()
        for widget, signal, slot in self._connections:
            widget.disconnect(signal, slot)
        self._connections.clear()
        if self.command is not None:
            self.command.close()

    @property
    def positive(self) -> bool:
        """Whether new marks show what is meant."""
        return bool(self.positiveButton.checked)

    @positive.setter
    def positive(self, positive: bool) -> None:
        for button, checked in ((self.positiveButton, positive), (self.negativeButton, not positive)):
            was_blocked = button.blockSignals(True)
            button.checked = checked
            button.blockSignals(was_blocked)

    @property
    def reading(self) -> str:
        """What positive boxes mean, a value of ``prompts.BoxReading``."""
        return str(self.readingSelector.currentData)

    @reading.setter
    def reading(self, reading: str) -> None:
        was_blocked = self.readingSelector.blockSignals(True)
        self.readingSelector.setCurrentIndex(max(0, self.readingSelector.findData(reading)))
        self.readingSelector.blockSignals(was_blocked)

    @property
    def answers_at_once(self) -> bool:
        """Whether what is drawn in a slice view starts ``this slice`` by itself."""
        return bool(self.atOnceBox.checked)

    @answers_at_once.setter
    def answers_at_once(self, at_once: bool) -> None:
        was_blocked = self.atOnceBox.blockSignals(True)
        self.atOnceBox.checked = at_once
        self.atOnceBox.blockSignals(was_blocked)

    @property
    def phrase(self) -> str:
        """What is typed."""
        return str(self.phraseEdit.text)

    def show_phrase(self, phrase: str) -> None:
        """Show a phrase as if it had been typed."""
        if self.phraseEdit.text != phrase:
            self.phraseEdit.text = phrase

    def show_prompts(self, prompts: Sequence[Prompt]) -> None:
        """List the marks; positions are in the world."""
        self._marks.show(prompts)

    def show_view(self, name: str) -> None:
        """Say which slice view ``this slice`` means."""
        self.sliceButton.text = _("This slice ({view})").format(view=name) if name else _("This slice")

    def show_ready(self, reason: str) -> None:
        """Let actions be clicked, or not, with the reason why."""
        self._unready = reason
        self._update_actions()

    def show_running(self, running: bool) -> None:
        """Show that an action is on its way, or that none is."""
        self._is_running = running
        self._update_actions()
        self.cancelButton.enabled = running
        self.cancelButton.visible = running
        if self.command is not None:
            self.command.set_enabled(not running)
        if running:
            self.progress.begin()
        else:
            self.progress.end()

    def words_without_tracker(self, model: str) -> str:
        """What can be done with these options where the model cannot follow what was drawn."""
        words = _(
            "The model {model} finds things by a phrase but cannot follow what was drawn; choose another model in the"
            ' MedSAM3 Segment module, or type a phrase, remove the points, choose "{example}" for boxes and press'
            ' "{this_slice}" or "{whole_volume}".'
        )
        example = self.readingSelector.findData(BoxReading.THINGS_LIKE_THIS.value)
        return str(
            words.format(
                model=model,
                example=self.readingSelector.itemText(example),
                this_slice=self.sliceButton.text,
                whole_volume=self.volumeButton.text,
            )
        )

    def show_messages(self, messages: Sequence[str]) -> None:
        """Show sentences for the user, in place of earlier ones."""
        self.messageLabel.text = "\n".join(map(translated, messages))
        self.messageLabel.visible = bool(messages)

    def stop_command(self, why: str) -> None:
        """End a typed command that is on its way, without a change; ``why`` is one sentence for the user."""
        if self.command is not None:
            self.command.stop(why)

    def show_next_slice(self, index: int | None) -> None:
        """Offer to show the slice whose correction would help most, or none."""
        self.nextSliceButton.visible = index is not None
        if index is not None:
            self.nextSliceButton.text = _("Go to slice {index}, to draw next").format(index=index)

    def bring_into_sight(self) -> None:
        """Scroll the Segment Editor so far that the actions are seen, and what they have to say below them."""
        scroll_into_view(self.phraseEdit, self.volumeButton, _MESSAGE_HEIGHT)

    def _on(self, widget: Any, signal: str, slot: Callable[..., Any]) -> None:
        widget.connect(signal, slot)
        self._connections.append((widget, signal, slot))

    def _tell(self, event: str, *news: Any) -> None:
        listener = self._listeners.get(event)
        if listener is not None:
            listener(*news)

    def _update_actions(self) -> None:
        busy = _("An action is on its way; cancel it or wait until it is done.")
        reason = busy if self._is_running else self._unready
        for button, action in self._actions.items():
            button.enabled = not reason
            button.toolTip = reason or action_help(action)

    def _add_phrase(self, scripted_effect: Any) -> None:
        self.phraseEdit = qt.QLineEdit()
        self.phraseEdit.objectName = "MedSAM3PhraseEdit"
        self.phraseEdit.setPlaceholderText(_("such as: liver"))
        self.phraseEdit.setToolTip(_("What to look for. Leave it empty to follow only what is drawn."))
        self._on(self.phraseEdit, "editingFinished()", lambda: self._tell("phrase", self.phrase))
        scripted_effect.addLabeledOptionsWidget(_("Phrase:"), self.phraseEdit)

    def _add_drawing(self, scripted_effect: Any) -> None:
        self.positiveButton = qt.QRadioButton(_("What is meant"))
        self.positiveButton.objectName = "MedSAM3PositiveButton"
        self.positiveButton.setToolTip(_("Clicks and boxes show the object. Key: n"))
        self.negativeButton = qt.QRadioButton(_("What is not"))
        self.negativeButton.objectName = "MedSAM3NegativeButton"
        self.negativeButton.setToolTip(_("Clicks and boxes show what must not be taken for it. Key: n"))
        self.positiveButton.checked = True
        # A row of its own, so that it is no wider for the labels of the others.
        polarity = qt.QHBoxLayout()
        for widget in (qt.QLabel(_("Draw:")), self.positiveButton, self.negativeButton):
            polarity.addWidget(widget)
        polarity.addStretch(1)
        scripted_effect.addOptionsWidget(polarity)
        self._on(self.positiveButton, "toggled(bool)", lambda _checked: self._tell("changed"))

        self.readingSelector = qt.QComboBox()
        self.readingSelector.objectName = "MedSAM3ReadingSelector"
        self.readingSelector.addItem(_("Only this one"), BoxReading.ONLY_THIS_ONE.value)
        self.readingSelector.addItem(_("Things like this"), BoxReading.THINGS_LIKE_THIS.value)
        self.readingSelector.setToolTip(_("Whether a box shows the one object that is meant, or an example of many."))
        self._on(self.readingSelector, "currentIndexChanged(int)", lambda _index: self._tell("changed"))
        scripted_effect.addLabeledOptionsWidget(_("A box means:"), self.readingSelector)

    def _add_marks(self, scripted_effect: Any) -> None:
        self._marks = PromptList(self._on, self._tell)
        self.promptList = self._marks.list
        self.removeButton, self.removeAllButton = self._marks.removeButton, self._marks.removeAllButton
        scripted_effect.addOptionsWidget(self._marks.frame)

    def _add_actions(self, scripted_effect: Any) -> None:
        self.atOnceBox = qt.QCheckBox(_("Answer at once"))
        self.atOnceBox.objectName = "MedSAM3AtOnceBox"
        self.atOnceBox.setToolTip(
            _("Each box or point that is drawn, moved or removed in a slice view segments its slice again.")
        )
        self._on(self.atOnceBox, "toggled(bool)", lambda _checked: self._tell("changed"))
        self.sliceButton = qt.QPushButton(_("This slice"))
        self.sliceButton.objectName = "MedSAM3SliceButton"
        self.propagateButton = qt.QPushButton(_("Propagate from edited slices"))
        self.propagateButton.objectName = "MedSAM3PropagateButton"
        self.volumeButton = qt.QPushButton(_("Whole volume"))
        self.volumeButton.objectName = "MedSAM3VolumeButton"
        self._actions = {
            self.sliceButton: EditAction.THIS_SLICE,
            self.propagateButton: EditAction.PROPAGATE,
            self.volumeButton: EditAction.WHOLE_VOLUME,
        }
        for button, action in self._actions.items():
            self._on(button, "clicked()", lambda action=action: self._tell("act", action))
        self.learning = LearningChoice(self._on)
        learn_row = (self.learning.box, self.learning.nameEdit)
        rows = ((self.sliceButton, self.atOnceBox), (self.propagateButton, self.volumeButton), learn_row)
        for row in rows:
            layout = qt.QHBoxLayout()
            for widget in row:
                layout.addWidget(widget)
            scripted_effect.addOptionsWidget(layout)

    def _add_progress(self, scripted_effect: Any) -> None:
        bar = qt.QProgressBar()
        bar.objectName = "MedSAM3ProgressBar"
        label = qt.QLabel()
        label.objectName = "MedSAM3ProgressLabel"
        self.progress = ProgressBar(bar, label)
        self.cancelButton = qt.QPushButton(_("Cancel"))
        self.cancelButton.objectName = "MedSAM3CancelButton"
        self._on(self.cancelButton, "clicked()", lambda: self._tell("cancel"))
        self.messageLabel = qt.QLabel()
        self.messageLabel.objectName = "MedSAM3MessageLabel"
        self.messageLabel.setWordWrap(True)
        self.nextSliceButton = qt.QPushButton()
        self.nextSliceButton.objectName = "MedSAM3NextSliceButton"
        self.nextSliceButton.setToolTip(_("Show the slice whose correction would help most, in all slice views."))
        self._on(self.nextSliceButton, "clicked()", lambda: self._tell("next_slice"))
        row = qt.QHBoxLayout()
        row.addWidget(bar)
        row.addWidget(self.cancelButton)
        for part in (label, row, self.messageLabel, self.nextSliceButton):
            scripted_effect.addOptionsWidget(part)
        self.show_running(False)
        self.show_messages([])
        self.show_next_slice(None)

    def _add_command(self, scripted_effect: Any) -> None:
        self.command = new_command_line(lambda: command_target(scripted_effect, self.command.widget))
        if self.command is not None:
            scripted_effect.addOptionsWidget(self.command.widget)
