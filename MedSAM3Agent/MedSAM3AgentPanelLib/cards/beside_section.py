"""Two rounds side by side: in slice views that move together, and in a table of overlap and volume."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound
from MedSAM3AgentSceneLib.translation.translate import translated

from .number_table import NumberTable


class BesideSection:
    """Shows one pair at a time.

    Args:
        ui: the panel's widgets.
        changed: called when a pair is shown or hidden.
    """

    def __init__(self, ui: Any, changed: Any) -> None:
        self._ui = ui
        self._changed = changed
        self._view: Any = None
        self._is_working = False
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

    @property
    def is_shown(self) -> bool:
        return self._view is not None and self._view.is_shown

    def show(self, earlier: SceneRound, later: SceneRound, volume_node: Any) -> None:
        """Show two rounds beside each other; the window goes on meanwhile, and a second call does nothing.

        Raises:
            MedSAM3Error: they cannot be compared, in words.
        """
        if self._is_working:
            return
        from MedSAM3AgentSceneLib.comparison.compare_rounds import BesideView, compare_segmentations

        self.hide()
        self._is_working = True
        try:
            compared = compare_segmentations(earlier.node, later.node)
            view = BesideView()
            view.show(earlier.node, later.node, volume_node)
        finally:
            self._is_working = False
        self._view = view
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
        self._changed()

    def hide(self) -> None:
        """Show the views as they were before."""
        view, self._view = self._view, None
        self._ui.besidePanel.visible = False
        if view is not None:
            view.hide()
            self._changed()
