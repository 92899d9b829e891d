"""The rounds of a volume as cards, the newest on top; one of them is open, and commands go to that one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer

from MedSAM3AgentSceneLib.rounds.round_record import VOLUME_ROLE, round_nodes
from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound

from .round_card import CardActions, RoundCard


class RoundsSection:
    """Keeps cards and rounds the same.

    Args:
        ui: the panel's widgets.
        actions: of the cards' buttons; ``opened`` is called once the other cards are closed.
    """

    def __init__(self, ui: Any, actions: CardActions) -> None:
        self._ui = ui
        self._opened = actions.opened
        self._actions = CardActions(actions.keep, actions.go_on, actions.beside, self._open)
        self._cards: dict[str, RoundCard] = {}

    @property
    def cards(self) -> list[RoundCard]:
        """From the oldest to the newest."""
        return list(self._cards.values())

    @property
    def current(self) -> SceneRound | None:
        """The round whose card is open; None where none is, or its node is gone."""
        opened = next((card.round for card in self._cards.values() if card.is_open), None)
        return opened if opened is not None and opened.node.GetScene() is not None else None

    @property
    def newest(self) -> RoundCard | None:
        """The card of the newest round."""
        return next(reversed(self._cards.values()), None)

    def show(
        self, nodes: Sequence[Any], read: Callable[[Any], SceneRound | None], news: SceneRound | None = None
    ) -> None:
        """Show the rounds in these nodes, from the oldest to the newest; a newest that is new is opened.

        Args:
            read: the round in a node; called for those that have no card yet, since pages are large.
            news: one that was read already.
        """
        wanted = {node.GetID(): node for node in nodes}
        for node_id in [node_id for node_id in self._cards if node_id not in wanted]:
            self._cards.pop(node_id).remove()
        kept = list(self._cards)
        if list(wanted)[: len(kept)] != kept:
            # Others come in between, as when a scene is loaded into this one: all in order anew.
            self.clear()
            kept = []
        for node_id in list(wanted)[len(kept) :]:
            node = wanted[node_id]
            one = news if news is not None and news.node is node else read(node)
            if one is not None:
                place = self._ui.roundsPlace.layout()
                self._cards[node_id] = RoundCard(one, place, self._actions, is_open=False)
        if len(self._cards) > len(kept) and self.newest is not None:
            self._only(self.newest)
        self._ui.noRoundsLabel.visible = not self._cards

    def clear(self) -> None:
        """Show nothing."""
        for card in self._cards.values():
            card.remove()
        self._cards.clear()
        self._ui.noRoundsLabel.visible = True

    def enable(self, is_free: bool, can_compare: Callable[[SceneRound], bool]) -> None:
        """Enable what can be pressed; see ``RoundCard.enable``."""
        for card in self._cards.values():
            card.enable(is_free, can_compare(card.round))

    def before(self, one: SceneRound) -> SceneRound | None:
        """The round that a round is compared with: the one that it goes on from, else the one before it."""
        others = [card.round for card in self._cards.values() if card.round is not one]
        parent = next((other for other in others if one.parent and other.id == one.parent), None)
        same = [other for other in others if other.session == one.session]
        earlier = [other for other in same if other.number < one.number]
        return parent or next(reversed(earlier), None) or next(iter(same), None)

    def _open(self, one: SceneRound) -> None:
        self._only(next(card for card in self._cards.values() if card.round is one))
        self._opened(one)

    def _only(self, opened: RoundCard) -> None:
        for card in self._cards.values():
            card.switch(card is opened)


def nodes_of_rounds(volume_node: Any | None) -> list[Any]:
    """The nodes of the rounds of a volume, from the oldest to the newest; none without a volume."""
    nodes = round_nodes(slicer.mrmlScene) if volume_node is not None else []
    return [node for node in nodes if node.GetNodeReference(VOLUME_ROLE) is volume_node]
