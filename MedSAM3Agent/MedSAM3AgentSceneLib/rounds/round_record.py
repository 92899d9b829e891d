"""What a scene keeps of a round: small facts as attributes of its node, its picture and masks in a text node.

The text node lies hidden in the round's folder, so that it goes with the folder and into every saved scene.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import slicer

from MedSAM3SegmentLib.errors import InputError

#: Attributes of a round's node. Names that are stored do not change.
SESSION, SESSION_NUMBER, NUMBER, PARENT = (
    f"MedSAM3Agent.{name}" for name in ("Session", "SessionNumber", "Round", "Parent")
)
SUMMARY, END = "MedSAM3Agent.Summary", "MedSAM3Agent.End"

#: Node references of a round's node.
VOLUME_ROLE, RECORD_ROLE = "MedSAM3AgentVolume", "MedSAM3AgentRecord"

#: Tags of segments: what a segment is in its round, and the target it was made for.
ROLE_TAG, TARGET_TAG = "MedSAM3Agent.Role", "MedSAM3Agent.Target"

#: Values of ``ROLE_TAG``: what is kept, what the agent does not believe, what a person rejected.
KEPT, DISBELIEVED, REJECTED = "kept", "not believed", "rejected"

#: What stands before the name of a segment that is not meant.
NOT = "not: "

#: Of the text; a change that older versions cannot read raises it.
FORMAT = 1


def record_text(record: Mapping[str, Any], page: bytes) -> str:
    """The text of a record node. Touches no scene; takes a while."""
    whole = {**record, "format": FORMAT, "page": base64.b64encode(page).decode()}
    return json.dumps(whole, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def new_record_node(name: str, text: str) -> Any:
    """A text node for a record; in no scene yet."""
    node = slicer.vtkMRMLTextNode()
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetAttribute(_excluded_from_tree(), "1")
    node.SetText(text)
    return node


def read_record(round_node: Any) -> dict[str, Any]:
    """What was kept of a round; empty where its text node is gone or holds something else."""
    node = round_node.GetNodeReference(RECORD_ROLE)
    record = _object(node.GetText() if node is not None and node.IsA("vtkMRMLTextNode") else "")
    return record if record.get("format") == FORMAT else {}


def page_of(record: Mapping[str, Any]) -> bytes:
    """The picture in a record, PNG bytes, or empty."""
    try:
        return base64.b64decode(str(record.get("page", "")), validate=True)
    except ValueError:
        return b""


def read_json(node: Any, attribute: str) -> dict[str, Any]:
    """A JSON object in an attribute of a node; empty where there is none."""
    return _object(node.GetAttribute(attribute) or "")


def write_json(node: Any, attribute: str, values: Mapping[str, Any]) -> None:
    """Keep a JSON object in an attribute of a node."""
    node.SetAttribute(attribute, json.dumps(values, ensure_ascii=True, allow_nan=False, separators=(",", ":")))


def is_round(node: Any) -> bool:
    """Whether a segmentation node holds a round."""
    return bool(node.GetAttribute(SESSION)) and str(node.GetAttribute(NUMBER) or "").isdecimal()


def volume_of_round(round_node: Any) -> Any:
    """The volume node that a round was made in.

    Raises:
        InputError: the node is no round, or its volume is gone.
    """
    if round_node is None or not hasattr(round_node, "IsA") or not round_node.IsA("vtkMRMLSegmentationNode"):
        raise InputError("No round was given; choose the segmentation of a round.")
    if not is_round(round_node) or round_node.GetScene() is None:
        raise InputError(
            "'{name}' is no round of the agent in this scene; ask for something first.", name=round_node.GetName()
        )
    volume_node = round_node.GetNodeReference(VOLUME_ROLE)
    if volume_node is None:
        raise InputError(
            "The volume that '{name}' was made in is not in the scene any more; load it with the scene.",
            name=round_node.GetName(),
        )
    return volume_node


def round_nodes(scene: Any, session: str = "") -> list[Any]:
    """The nodes of all rounds of a scene, or of one session, by session and number."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    nodes = [scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode") for number in range(count)]
    found = [node for node in nodes if is_round(node) and session in ("", node.GetAttribute(SESSION))]
    return sorted(found, key=lambda node: (session_number(node), node.GetAttribute(SESSION), number_of(node)))


def number_of(node: Any) -> int:
    """The number of a round within its session."""
    return int(node.GetAttribute(NUMBER))


def session_number(node: Any) -> int:
    """The number of a round's session in the scene that it was made in."""
    text = str(node.GetAttribute(SESSION_NUMBER) or "")
    return int(text) if text.isdecimal() else 0


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _excluded_from_tree() -> str:
    return str(slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyExcludeFromTreeAttributeName())
