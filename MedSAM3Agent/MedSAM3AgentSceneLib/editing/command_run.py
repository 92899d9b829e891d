"""Typed commands done to segments of a segmentation, from the text to the changed segments, as one action.

As ``MedSAM3SceneLib.runs.run`` says: what takes a while happens on a thread, the rest comes in short steps. All clauses
are done before anything is written, so a clause that cannot be done leaves the scene as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from MedSAM3SceneLib.coroutines import WORKING, StepGenerator, run_in_thread
from MedSAM3SceneLib.editing.editor_state import editor_state_saver
from MedSAM3SceneLib.editing.overwrite import is_masking, overwritten_segments
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter, open_editor
from MedSAM3SceneLib.editing.write_result import check_segmentation_node
from MedSAM3SceneLib.mrml.labelmaps import content_version
from MedSAM3SceneLib.mrml.volumes import SceneVolume, read_in_steps
from MedSAM3SceneLib.runs.listener import RunListener
from MedSAM3SceneLib.runs.run import Run, RunState
from MedSAM3SceneLib.segments.completed import is_completed
from MedSAM3SceneLib.segments.edit_guard import ConfirmReplace
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.progress import Progress, Stage

from .addressing import given_ids, other_segment, segments_meant
from .edited_segments import EditedSegment, EditedSegments, read_segments
from .masked_change import keep_protected
from .placing import Placing, find_volume
from .write_segments import lost_voxels, write_segments


@dataclass(frozen=True, eq=False)
class CommandTask:
    """What is to be done to which segments.

    Attributes:
        segmentation_node: the vtkMRMLSegmentationNode.
        text: as typed.
        segments: IDs or names of those that are meant where the text names none; None for the one that is selected in
            a Segment Editor that has the segmentation open, or the only one.
        volume_node: for commands by intensity; None for the source volume of that editor or of the segmentation.
        may_change: asked with the names of segments that are marked as completed; None where there is nobody to ask.
        save_state: called once, before anything changes, for another undo history; None for that of Slicer's own
            Segment Editor.
    """

    segmentation_node: Any
    text: str
    segments: Sequence[str] | str | None = None
    volume_node: Any | None = None
    may_change: ConfirmReplace | None = None
    save_state: Callable[[], None] | None = None


@dataclass(eq=False)
class CommandOutcome:
    """What became of typed commands.

    Attributes:
        understood: one sentence for each clause and segment, of what was understood.
        changed: how many voxels were added or taken away, by the ID of each segment that was changed, also of those
            that were made and those that lost voxels to another.
        messages: what was done and what there is to know of it, one sentence each.
    """

    understood: list[str] = field(default_factory=list)
    changed: dict[str, int] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


class CommandRun(Run):
    """Commands that are on their way.

    Attributes:
        outcome: what they came to, once they are done.

    Raises:
        InputError: the node or the segments cannot be used; nothing was begun.
    """

    def __init__(self, task: CommandTask, writer: SegmentWriter, listener: RunListener | None = None) -> None:
        check_segmentation_node(task.segmentation_node)
        if writer.is_writing:
            raise InputError("Another change is being written; wait until it is done.")
        super().__init__((task.segmentation_node,), listener)
        self.task = task
        self.outcome = CommandOutcome()
        self._node = task.segmentation_node
        self._writer = writer
        self._editor = open_editor(self._node.GetScene(), self._node)
        self._volume_node = find_volume(self._node, task.volume_node, self._editor)
        self._placed: SceneVolume | None = None
        self._confirmed: set[str] = set()

    def _all_steps(self) -> StepGenerator[None]:
        self.state = RunState.CONVERTING
        segmentation = self._node.GetSegmentation()
        names = [str(segmentation.GetSegment(one).GetName()) for one in segmentation.GetSegmentIDs()]
        # The grammar takes a moment to load.
        clauses = yield from run_in_thread(partial(_parse, self.task.text, names))
        while True:
            version = content_version(segmentation)
            self.outcome = CommandOutcome()
            placing = Placing(self._node, self._volume_node)
            edits = read_segments(self._node, placing.volume_block)
            yield from self._do_all(edits, clauses, placing)
            changed = yield from run_in_thread(lambda edits=edits: edits.count_changed())
            lost = yield from lost_voxels(edits, changed, self._overwritten)
            self._check_wanted()
            # Worked out again where segments changed meanwhile, as an undo lets them.
            if content_version(segmentation) == version:
                break
        yield WORKING
        if changed or edits.renamed():
            self.state = RunState.WRITING
            save_state = self.task.save_state or editor_state_saver(self._node)
            written = yield from write_segments(self._node, self._volume_node, edits, changed, self._writer, save_state)
            self.outcome.changed = written | {one: count for one, (count, _) in lost.items()}
        self.outcome.messages += [said for _, said in lost.values()]
        self.messages = [*self.outcome.messages]

    def _do_all(self, edits: EditedSegments, clauses: Sequence[Any], placing: Placing) -> StepGenerator[None]:
        given = given_ids(self._node, self.task.segments) or self._selected()
        before: list[EditedSegment] = []
        worked_on: EditedSegment | None = None
        for number, clause in enumerate(clauses):
            self._listener.progress(Progress(Stage.ASSEMBLING, number, len(clauses)))
            before = segments_meant(edits, clause.segment, given, before)
            for target in before:
                if worked_on is not None and worked_on is not target:
                    yield from self._take_from_others(edits, worked_on)
                worked_on = target
                yield from self._do(edits, target, clause.command, placing)
                yield WORKING
        if worked_on is not None:
            yield from self._take_from_others(edits, worked_on)

    def _do(self, edits: EditedSegments, target: EditedSegment, command: Any, placing: Placing) -> StepGenerator[None]:
        from MedSAM3AgentLib.editing.command_words import command_words
        from MedSAM3AgentLib.editing.commands import Measure, Recut, Rename, SplitObjects

        from .do_command import do_command, name_as_typed, names_slices, needs_volume, split_segment

        if isinstance(command, Recut):
            raise InputError(
                "A threshold cuts the model's answer, which a segment does not hold; move the threshold in the MedSAM3"
                " Segment module after a run, or segment again."
            )
        if isinstance(command, Rename):
            command = Rename(name_as_typed(command.name, self.task.text))
        name = target.name
        self.outcome.understood.append(message("{name}: {command}.", name=name, command=command_words(command)))
        if not isinstance(command, Measure):
            self._check_may_change(target)
        other = other_segment(edits, target, command)
        if needs_volume(command) and self._volume_node is None:
            raise InputError("Intensities need an image; give a volume, or select a source volume.")
        for one in filter(None, (target, other)):
            if not one.is_loaded:
                yield from run_in_thread(partial(one.load, edits.reference))
        self._check_wanted()
        if isinstance(command, Rename):
            target.name = command.name
            self._say(name, [message("Renamed to '{name}'.", name=command.name)])
            return
        before = target.mask
        if isinstance(command, SplitObjects):
            pieces, said = yield from run_in_thread(partial(split_segment, target))
            place = edits.segments.index(target) + 1
            edits.segments[place:place] = pieces
            told, added = [said], pieces
        else:
            volume = None
            if needs_volume(command):
                if self._placed is None:
                    self._placed = yield from read_in_steps(self._volume_node)
                volume = placing.read_volume(self._placed)
            work = partial(do_command, target, command, other, placing.to_patient, edits.reference, volume)
            told, added = (yield from run_in_thread(work)), []
        self._check_wanted()
        if self._editor is not None and is_masking(self._editor):
            told += yield from keep_protected(self._editor, target, before, added)
        notes = placing.notes_on_slices(edits.reference) if names_slices(command) else []
        self._say(name, [*told, *notes, *placing.notes_on_lengths(command)])

    def _take_from_others(self, edits: EditedSegments, target: EditedSegment) -> StepGenerator[None]:
        """Let the segments that a Segment Editor overwrites lose what a segment has gained."""
        gain = (yield from run_in_thread(target.take_gain)) if target.is_loaded else None
        overwritten = set(self._overwritten(target.segment_id))
        if gain is None or not overwritten:
            return
        losing = [one for one in edits.segments if one.segment_id in overwritten]
        yield from run_in_thread(lambda: [one.lose(*gain) for one in losing])

    def _overwritten(self, segment_id: str) -> list[str]:
        if self._editor is None or self._editor.GetSegmentationNode() is not self._node:
            return []
        return [str(one) for one in overwritten_segments(self._editor, segment_id)]

    def _selected(self) -> list[str]:
        """The segment that is selected in a Segment Editor that has the segmentation open."""
        chosen = (self._editor.GetSelectedSegmentID() or "") if self._editor is not None else ""
        return [chosen] if chosen and self._node.GetSegmentation().GetSegment(chosen) is not None else []

    def _check_may_change(self, target: EditedSegment) -> None:
        """Check that a segment may change that may be marked as completed.

        Raises:
            InputError: it is, and there is nobody to ask.
            Cancelled: the answer was no.
        """
        if target.segment is None or target.segment_id in self._confirmed or not is_completed(target.segment):
            return
        if self.task.may_change is None:
            raise InputError(
                "The segment '{name}' is marked as completed, so nothing was changed; change its status in the Segment"
                " Editor first.",
                name=target.name,
            )
        if not self.task.may_change((target.name,)):
            raise Cancelled("Nothing was changed, and what is completed is as it was.")
        self._confirmed.add(target.segment_id)

    def _check_wanted(self) -> None:
        if self.state is not RunState.WRITING:
            if self._cancelled:
                raise Cancelled("The command was cancelled; nothing was changed.")
            if self._node.GetScene() is None:
                self.cancel()
                raise Cancelled("The segmentation was removed, or the scene was closed; nothing was changed.")
        super()._check_wanted()

    def _say(self, name: str, sentences: Sequence[Message]) -> None:
        told = [message("{name}: {said}", name=name, said=sentence) for sentence in sentences]
        self.outcome.messages += [one for one in told if one not in self.outcome.messages]


def _parse(text: str, names: Sequence[str]) -> Sequence[Any]:
    from MedSAM3AgentLib.editing.grammar import parse_addressed

    return parse_addressed(text, names)
