"""What a user chose in the agent's panel, kept in a node of the scene. Who is asked is no part of it, nor any key."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

from MedSAM3AgentLib.session import MOST_ROUNDS
from MedSAM3SegmentLib.geometry.slice_stack import Plane

_MOST_CALLS = 100


class AgentPlane(Enum):
    """The planes as the panel offers them."""

    ACQUIRED = 1
    AXIAL = 2
    CORONAL = 3
    SAGITTAL = 4

    def label(self) -> str:
        """What the panel calls it."""
        return {
            AgentPlane.ACQUIRED: _("As acquired"),
            AgentPlane.AXIAL: _("Axial"),
            AgentPlane.CORONAL: _("Coronal"),
            AgentPlane.SAGITTAL: _("Sagittal"),
        }[self]

    @property
    def engine_plane(self) -> Plane:
        return Plane[self.name]


@parameterNodeWrapper
class AgentParameters:
    """The panel's choices.

    Attributes:
        volume: what to look in.
        text: the request as typed.
        rounds, calls: most rounds, and most questions to a language model.
        plane, window: as in ``AgentRequest``; the window as typed, empty for each structure's own.
        threshold: the lowest score that counts, 0 for the model's own.
        model, device: that segment.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    text: str
    rounds: Annotated[int, WithinRange(1, MOST_ROUNDS), Default(3)]
    calls: Annotated[int, WithinRange(0, _MOST_CALLS), Default(10)]
    plane: Annotated[AgentPlane, Default(AgentPlane.ACQUIRED)]
    window: str
    threshold: Annotated[float, WithinRange(0.0, 1.0), Default(0.0)]
    model: Annotated[str, Default("demo")]
    device: Annotated[str, Default("auto")]
