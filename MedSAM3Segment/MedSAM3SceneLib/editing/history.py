"""What can be undone and done again in a scene: actions in the order they were done, on whichever segmentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import slicer

#: Actions that can be undone, and states of one segmentation that are held for them; each holds what it changed.
MOST_STEPS = 24


class UndoStep(Protocol):
    """One action."""

    @property
    def can_undo(self) -> bool:
        """Whether it can be taken back now; one on a removed node cannot."""
        ...

    @property
    def can_redo(self) -> bool:
        """Whether it can be done again now."""
        ...

    def undo(self) -> None:
        """Take it back."""
        ...

    def redo(self) -> None:
        """Do it again."""
        ...


@dataclass(frozen=True, eq=False)
class SegmentationStep:
    """An action on the segments of one node.

    Attributes:
        node: the vtkMRMLSegmentationNode.
        states: its vtkSegmentationHistory, which holds the states before and after each of its actions.
    """

    node: Any
    states: Any

    @property
    def can_undo(self) -> bool:
        return self.node.GetScene() is not None and bool(self.states.IsRestorePreviousStateAvailable())

    @property
    def can_redo(self) -> bool:
        return self.node.GetScene() is not None and bool(self.states.IsRestoreNextStateAvailable())

    def undo(self) -> None:
        self.states.RestorePreviousState()

    def redo(self) -> None:
        self.states.RestoreNextState()


@dataclass(eq=False)
class History:
    """Actions that were done, and those that were undone last.

    Attributes:
        done: the last one last.
        undone: the one that would be done again first last.
    """

    done: list[UndoStep] = field(default_factory=list)
    undone: list[UndoStep] = field(default_factory=list)

    def begin(self, segmentation_node: Any) -> SegmentationStep:
        """Save the state of a segmentation before an action on it, which is the last one from now on."""
        step = SegmentationStep(segmentation_node, self._states_of(segmentation_node))
        step.states.SaveState()
        self.add(step)
        return step

    def add(self, step: UndoStep) -> None:
        """Remember an action that was done; what was undone cannot be done again any more."""
        self.undone.clear()
        self.done.append(step)
        del self.done[:-MOST_STEPS]

    @property
    def can_undo(self) -> bool:
        self._drop(self.done, lambda step: step.can_undo)
        return bool(self.done)

    @property
    def can_redo(self) -> bool:
        self._drop(self.undone, lambda step: step.can_redo)
        return bool(self.undone)

    def undo(self) -> None:
        """Take the last action back; there must be one."""
        step = self.done.pop()
        step.undo()
        self.undone.append(step)

    def redo(self) -> None:
        """Do again what was undone last; there must be something."""
        step = self.undone.pop()
        step.redo()
        self.done.append(step)

    def _drop(self, steps: list[UndoStep], is_possible: Any) -> None:
        """Leave out what cannot be undone, or done again, because its node was removed or changed since."""
        while steps and not is_possible(steps[-1]):
            steps.pop()

    def _states_of(self, segmentation_node: Any) -> Any:
        for step in reversed([*self.undone, *self.done]):
            if isinstance(step, SegmentationStep) and step.node is segmentation_node:
                return step.states
        states = slicer.vtkSegmentationHistory()
        states.SetMaximumNumberOfStates(MOST_STEPS)
        states.SetSegmentation(segmentation_node.GetSegmentation())
        return states
