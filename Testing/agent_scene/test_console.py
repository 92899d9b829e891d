"""The console's command: segments by name or ID, handed to whoever does commands, in the scene's one history."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SegmentLib.errors import InputError
from support.agent_scene import MASKS, add_abdomen, make_logic
from support.nodes import add_segmentation, segments

pytestmark = pytest.mark.usefixtures("scene")


@pytest.fixture
def asked(monkeypatch):
    """What the part that does commands is asked."""
    calls = []
    for name in ("MedSAM3AgentSceneLib.editing", "MedSAM3AgentSceneLib.editing.run_command"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))

    def run_command(*given):
        assert SegmentWriter.shared_if_held() is not None, "what it does can be undone"
        calls.append(given)
        return "done"

    sys.modules["MedSAM3AgentSceneLib.editing.run_command"].run_command = run_command
    return calls


def test_segments_are_named_or_given_by_id(asked):
    logic = make_logic()
    node = add_segmentation(add_abdomen(), {"liver": MASKS["liver"], "spleen": MASKS["spleen"]})
    ids = segments(node)

    assert logic.command(node, "shrink 2 mm") == "done"
    logic.command(node, "shrink 2 mm", "Liver")
    logic.command(node, "shrink 2 mm", ["liver", ids["spleen"]])

    assert asked == [
        (node, "shrink 2 mm", None),
        (node, "shrink 2 mm", [ids["liver"]]),
        (node, "shrink 2 mm", [ids["liver"], ids["spleen"]]),
    ]
    with pytest.raises(InputError, match="no single segment 'pancreas'"):
        logic.command(node, "shrink 2 mm", "pancreas")
