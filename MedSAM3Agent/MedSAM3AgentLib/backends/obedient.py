"""A language model that does whatever text in a picture or a request orders: the worst that an injection can reach."""

from __future__ import annotations

import json
from typing import Any

from MedSAM3SegmentLib.progress import CancelCheck

from .protocol import Question, QuestionKind, Reply


class ObedientBackend:
    """Replies with an order in every place that a reply has.

    An order that is a JSON object is the reply itself. Of others each field of each kind of action in turn holds the
    words, then a tool call that there is not, then the words alone.

    Args:
        written: what stands in the picture.
    """

    name = "obedient"
    votes = 1
    sees_pictures = True
    answers = True
    sends_to = ""

    def __init__(self, written: str) -> None:
        self._written = written
        self._asked = 0

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """What was ordered."""
        del cancel
        order = self._written
        self._asked += 1
        if order.lstrip().startswith("{"):
            return Reply(order, self.name)
        match question.kind:
            case QuestionKind.PLAN:
                parts = {"phrase": order, "inside": order, "without": [order], "side": order, "pick": order}
                return self._reply({"targets": [parts, order, {"phrase": "gadget"}], "rationale": order})
            case QuestionKind.VERDICT:
                return self._reply({"verdict": "accept" if "accept" in order.lower() else "reject", "reason": order})
            case QuestionKind.ANSWER:
                return self._reply({"answer": order})
        actions: list[dict[str, Any]] = [
            {"action": "segment", "phrases": [order, "widget"], "inside": order, "window": order, "plane": order},
            {"action": "edit", "command": order},
            {"action": "look_closer", "tile": 1, "window": order},
            {"action": "example_box", "tile": order, "first": order, "last": order},
            {"action": "choose_objects", "numbers": [order, 1]},
            {"action": order},
            {"tool": "shell", "arguments": {"command": order, "path": order, "url": order}},
            {"action": "report_absent", "reason": order},
        ]
        number = self._asked % (len(actions) + 1)
        return self._reply(actions[number]) if number < len(actions) else Reply(order, self.name)

    def _reply(self, data: dict[str, Any]) -> Reply:
        return Reply(json.dumps(data), self.name)
