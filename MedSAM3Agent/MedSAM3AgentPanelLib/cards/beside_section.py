"""Two rounds side by side: in slice views that move together, and in a table of overlap and volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound
from MedSAM3AgentSceneLib.translation.translate import translated
from MedSAM3SceneLib.coroutines import StepGenerator
from MedSAM3WidgetsLib.background_task import BackgroundTask
from MedSAM3WidgetsLib.scrolling import scroll_into_view

from .number_table import NumberTable


class BesideSection:
    """Shows one pair at a time.

    Args:
        ui: the panel's widgets.
        changed: called when a pair is shown or hidden.
        say: called with what is going on, and with nothing once that has ended.
    """

    def __init__(self, ui: Any, changed: Callable[[], None], say: Callable[[str], None]) -> None:
        self._ui = ui
        self._changed = changed
        self._say = say
        self._view: Any = None
        self._nodes: tuple[Any, ...] = ()
        self._task = BackgroundTask()
        headings = (
            (_("Structure"), ""),
            (_("Dice"), _("How much both have in common: 1 for all, 0 for nothing.")),
            (_("before"), _("Milliliters in the earlier round.")),
            (_("now"), _("Milliliters in the later round.")),
            ("+", _("Milliliters that the later round has more.")),
            ("\u2212", _("Milliliters that the later round has no more.")),
        )
        self._table = NumberTable(ui.besideTable, headings)
        ui.besidePanel.visible = False
        ui.hideBesideButton.connect("clicked()", self.hide)

    def show(
        self,
        earlier: SceneRound,
        later: SceneRound,
        volume_node: Any,
        failed: Callable[[Exception], None],
    ) -> None:
        """Begin to show two rounds beside each other, in place of what is shown; the window goes on meanwhile.

        Args:
            failed: called with why they cannot be compared.
        """
        from MedSAM3AgentSceneLib.comparison.compare_rounds import BesideView, compare_in_steps

        self.hide()
        view = self._view = BesideView()
        self._nodes = (earlier.node, later.node)

        def steps() -> StepGenerator[list[Any]]:
            compared = yield from compare_in_steps(earlier.node, later.node)
            yield from view.show_in_steps(earlier.node, later.node, volume_node)
            return compared

        def done(compared: list[Any]) -> None:
            self._say("")
            self._fill(earlier, later, compared)
            self._changed()
            scroll_into_view(self._ui.besidePanel, self._ui.besidePanel)

        def break_off(error: Exception) -> None:
            self.hide()
            failed(error)

        self._say(_("Comparing round {first} with round {second}...").format(first=earlier.number, second=later.number))
        self._task.start_steps(steps(), done, break_off)

    def hide(self) -> None:
        """Show the views as they were before; what is on its way is not shown any more."""
        if self._task.is_busy:
            self._task.stop()
            self._say("")
        view, self._view = self._view, None
        self._ui.besidePanel.visible = False
        if view is not None:
            view.hide()
            self._changed()

    def follow_nodes(self) -> None:
        """Rounds may have gone from the scene: what is compared goes with them."""
        if self._view is not None and any(node.GetScene() is None for node in self._nodes):
            self.hide()

    def _fill(self, earlier: SceneRound, later: SceneRound, compared: list[Any]) -> None:
        self._table.show(
            [
                (
                    one.name,
                    f"{one.dice:.3f}",
                    *(f"{ml:.1f}" for ml in (one.volume_first_ml, one.volume_second_ml, one.added_ml, one.removed_ml)),
                )
                for one in compared
            ],
            [translated(one.note) or one.name for one in compared],
        )
        self._ui.besideLabel.text = _(
            "Round {earlier} (left) beside round {later} (right): added in blue, taken away in orange; milliliters."
        ).format(earlier=earlier.number, later=later.number)
        self._ui.besidePanel.visible = True
