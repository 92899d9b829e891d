"""A request of the agent that is on its way, or done: its rounds appear in the scene as they are done."""

from __future__ import annotations

from typing import Any

from MedSAM3AgentLib.session import AgentResult, Stop
from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound
from MedSAM3SceneLib.runs.run import Run


class AgentRun(Run):
    """One request.

    Attributes:
        rounds: as they appear in the scene.
        agent_result: what the agent gave back, once it has.
        stop: why it ended; None while it is on its way.
        why: that in a sentence.
        answer: a language model's own words; never a finding.
        folder: subject-hierarchy item of the request, 0 until the first round is there.
        ended, state, error, messages, cancel(): as of any run.
    """

    rounds: list[SceneRound]
    result: AgentResult | None  # type: ignore[assignment]
    stop: Stop | None
    why: str
    answer: str
    folder: int
    volume_node: Any
