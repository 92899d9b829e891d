"""What the agent goes on from: the targets of an earlier round as a person left them.

A person's changes outrank the agent: slices that were edited come back as they are, what was deleted is not proposed
again, and what was typed is done to the masks as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from MedSAM3AgentLib.session import Proposal
from MedSAM3AgentLib.targets import Plan, Target
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.provenance import Provenance
from MedSAM3SegmentLib.tracking.correction import anchor_slices


@dataclass(frozen=True, eq=False)
class TargetSeed:
    """One target of an earlier round.

    Attributes:
        target: what was asked for, by its new phrase where its segment was renamed.
        mask: bool ``[k, j, i]``, what its segment holds now; empty where it was absent or deleted.
        edited: slices of the request's stack that a person drew, corrected or emptied, in this round or one before.
        is_edited: whether any of that was done since the round.
        scores: how sure the other slices were, where that is known.
        rejected: bool ``[k, j, i]``, what a person said is not meant, or None.
        earlier: the round's own proposal, or None where a person made the segment.
        is_sought: whether it is looked for anew although no slice was edited: another phrase, something rejected,
            another container.
        command: what was typed and is done to ``mask`` already, or empty.
    """

    target: Target
    mask: BoolMask
    edited: tuple[int, ...] = ()
    is_edited: bool = False
    scores: Mapping[int, float] = field(default_factory=dict)
    rejected: BoolMask | None = None
    earlier: Proposal | None = None
    is_sought: bool = False
    command: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to do for it before a language model is asked."""
        return bool(self.is_edited or self.is_sought or self.command or self.earlier is None)

    def with_edits(self, mask: BoolMask, stack: SliceStack) -> BoolMask:
        """``mask`` with the edited slices as the person left them; the same where there are none."""
        if not self.edited:
            return mask
        slices = stack.extract(mask).copy()
        slices[list(self.edited)] = stack.extract(self.mask)[list(self.edited)]
        return np.ascontiguousarray(stack.insert(slices))

    def drawn(self, stack: SliceStack) -> TargetPrompts:
        """The edited slices for the engine, and on each side of them the surest that still holds the object.

        Slices near an edited one are not relied on; see ``tracking.correction``.
        """
        there = np.flatnonzero(stack.extract(self.mask).any(axis=(1, 2))).tolist()
        # Without scores nothing tells which slices were right.
        held = anchor_slices(there, self.edited, self.scores) if self.scores else []
        slices = tuple(sorted({*self.edited, *held}))
        shown = np.zeros(stack.grid.shape, bool)
        stack.extract(shown)[list(slices)] = stack.extract(self.mask)[list(slices)]
        return TargetPrompts(masks=(MaskPromptRAS(shown, slices),))


@dataclass(frozen=True, eq=False)
class Seeds:
    """All that the agent goes on from.

    Attributes:
        plan: targets of the earlier round in their order, those of segments that a person added last.
        targets: by the name of the plan's target; one without an entry is asked for the first time.
        text: a command or a further request, as typed; may be empty.
        container: bool ``[k, j, i]``, what everything that is looked for anew must lie in, or None.
        provenance: of the earlier round, for what no model is asked again.
        first_number: of the round that comes first.
    """

    plan: Plan
    targets: Mapping[str, TargetSeed]
    text: str = ""
    container: BoolMask | None = None
    provenance: Provenance | None = None
    first_number: int = 1
