"""Writing masks into segments: as a user's Segment Editor would, one undo state per action, all of it or nothing."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import slicer

from MedSAM3SceneLib.coroutines import StepGenerator
from MedSAM3SceneLib.mrml.labelmaps import content_of, labelmap_on_lattice, lattice_of
from MedSAM3SceneLib.mrml.nodes import call_on_close
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix

from .history import History, UndoStep
from .masking import as_far_as_editable, editable_part
from .overwrite import (
    is_masking,
    overwritten_segments,
    reference_image,
    remove_content,
    replace_content,
    without_masks,
)

#: The segment editor node of this project, one per scene, as Slicer's Segment Editor has its own.
EDITOR_TAG = "MedSAM3Segment"

_EDITOR_CLASS = "vtkMRMLSegmentEditorNode"


class SegmentWriter:
    """Writes masks into one segmentation after another, and undoes it.

    What it did to several segmentations is undone in the order it was done, whichever it was.
    """

    _shared: ClassVar[Callable[[], SegmentWriter | None]] = lambda: None

    # The node that an action is on its way for: all writers work with the one segment editor node of the scene.
    _at_work_on: ClassVar[Any | None] = None

    def __init__(self) -> None:
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._history = History()
        self._written: set[str] = set()
        call_on_close(slicer.mrmlScene, self._forget)

    @classmethod
    def shared(cls) -> SegmentWriter:
        """The one that all who write into the scene share, so that undo takes back what was written last, by whomever.

        It lives, and with it what can be undone, as long as somebody holds it.
        """
        writer = cls.shared_if_held()
        if writer is None:
            writer = cls()
            cls._shared = weakref.ref(writer)
        return writer

    @classmethod
    def shared_if_held(cls) -> SegmentWriter | None:
        """``shared`` where somebody holds it; what it can undo need not outlive those who wrote it."""
        return cls._shared()

    @property
    def is_writing(self) -> bool:
        """Whether an ``action`` of any writer is on its way; nothing else can be begun or undone meanwhile."""
        node = SegmentWriter._at_work_on
        # Whoever writes into a node that was removed cannot go on.
        return node is not None and node.GetScene() is not None

    @contextmanager
    def action(self, segmentation_node: Any, volume_node: Any) -> Iterator[None]:
        """As ``begin``, for what is written inside; whatever breaks that off takes all of it back."""
        if self.is_writing:
            raise RuntimeError("an action is on its way already")
        SegmentWriter._at_work_on = segmentation_node
        done, undone = [*self._history.done], [*self._history.undone]
        try:
            self.begin(segmentation_node, volume_node)
            with _changes_of(segmentation_node.GetSegmentation()) as changes:
                try:
                    yield
                except BaseException:
                    if not changes:
                        # Slicer would take back the action before, whose state is the same.
                        self._history.done, self._history.undone = done, undone
                    elif self._logic.GetSegmentationNode() is segmentation_node:
                        # Without its node there is nothing to restore.
                        self._history.done.pop().undo()
                    raise
        finally:
            if SegmentWriter._at_work_on is segmentation_node:
                SegmentWriter._at_work_on = None

    def begin(self, segmentation_node: Any, volume_node: Any) -> None:
        """Start one action on ``segmentation_node``: take over the user's editing settings and save one undo state.

        When a Segment Editor of the scene has this segmentation open, its masking, editable intensity range and
        overwrite mode hold; but segments of one action never overwrite each other, because phrases overlap: a liver
        contains its tumour. Otherwise everything may be written.
        """
        scene = segmentation_node.GetScene()
        self._logic.SetMRMLScene(scene)
        editor = _own_editor(scene)
        theirs = open_editor(scene, segmentation_node)
        settings = theirs or slicer.vtkMRMLSegmentEditorNode()
        editor.SetAndObserveSegmentationNode(segmentation_node)
        source = theirs.GetSourceVolumeNode() if theirs else None
        editor.SetAndObserveSourceVolumeNode(source if source and source.GetImageData() else volume_node)
        editor.SetMaskMode(settings.GetMaskMode())
        editor.SetMaskSegmentID(settings.GetMaskSegmentID())
        editor.SetSourceVolumeIntensityMask(settings.GetSourceVolumeIntensityMask())
        editor.SetSourceVolumeIntensityMaskRange(settings.GetSourceVolumeIntensityMaskRange())
        editor.SetOverwriteMode(theirs.GetOverwriteMode() if theirs else settings.OverwriteNone)
        self._logic.SetSegmentEditorNode(editor)
        self._history.begin(segmentation_node)
        self._written.clear()

    def write(self, segment_id: str, mask: BoolMask, ijk_to_ras: Matrix) -> StepGenerator[bool]:
        """Make ``segment_id`` of the segmentation given to ``begin`` hold ``mask``, as far as masking allows.

        Args:
            segment_id: an existing segment; what it held is replaced, but kept where masking forbids editing.
            mask: bool ``[k, j, i]``, not empty.
            ijk_to_ras: where its voxels lie, in the segmentation's own frame.

        Returns:
            Whether masking lets anything of it be edited; nothing was written otherwise.

        Raises:
            Cancelled: the segment was removed meanwhile.
        """
        segmentation = self._logic.GetSegmentation()
        labelmap = labelmap_on_lattice(mask, ijk_to_ras, lattice_of(reference_image(segmentation)))
        if labelmap is None:
            # Slicer's segments may each stand on a lattice of their own, so nothing need be resampled.
            labelmap = labelmap_on_lattice(mask, ijk_to_ras, ijk_to_ras)
        labelmap, taken = yield from self.as_far_as_editable(segment_id, labelmap, labelmap)
        return self.replace(segment_id, labelmap, taken)

    def as_far_as_editable(
        self, segment_id: str, labelmap: Any, written: Any | None
    ) -> StepGenerator[tuple[Any | None, Any | None]]:
        """See ``masking.as_far_as_editable``, by the settings that ``begin`` took over."""
        return (yield from as_far_as_editable(labelmap, written, self._logic.GetSegmentEditorNode(), segment_id))

    def replace(self, segment_id: str, labelmap: Any | None, taken: Any | None, is_own: bool = False) -> bool:
        """Make a segment hold what ``as_far_as_editable`` left of a labelmap, at once; returns as ``write``.

        Args:
            taken: what that left of the part that is new, which neighbors lose as the overwrite mode says.
            is_own: see ``overwrite.replace_content``.
        """
        if labelmap is None:
            return False
        self._logic.SetCurrentSegmentID(segment_id)
        editor = self._logic.GetSegmentEditorNode()
        replace_content(editor, segment_id, labelmap, taken, self, frozenset(self._written), is_own)
        self._written.add(segment_id)
        return True

    def remove_all(self, segment_id: str) -> None:
        """Make a segment hold nothing, at once and whatever is masked; see ``overwrite.remove_content``."""
        self._logic.SetCurrentSegmentID(segment_id)
        remove_content(self._logic.GetSegmentEditorNode(), segment_id, self)
        self._written.add(segment_id)

    def overwritten_by(self, segment_id: str) -> list[str]:
        """The segments that lose what ``replace`` writes into ``segment_id``."""
        return overwritten_segments(self._logic.GetSegmentEditorNode(), segment_id, self._written)

    def clear(self, segment_id: str) -> StepGenerator[None]:
        """Take all voxels out of ``segment_id`` of the segmentation given to ``begin``, as far as masking allows.

        Raises:
            Cancelled: the segment was removed meanwhile.
        """
        editor = self._logic.GetSegmentEditorNode()
        content = content_of(self._logic.GetSegmentation().GetSegment(segment_id))
        editable = None if content is None else (yield from editable_part(content, editor, segment_id))
        if editable is not None:
            self._logic.SetCurrentSegmentID(segment_id)
            with without_masks(editor, overwriting=False):
                self.remove_voxels(segment_id, editable)

    @property
    def is_masking(self) -> bool:
        """Whether not all voxels of the segmentation given to ``begin`` may be edited."""
        return is_masking(self._logic.GetSegmentEditorNode())

    @property
    def can_undo(self) -> bool:
        """Whether there is an action to undo."""
        return not self.is_writing and self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone action to do again."""
        return not self.is_writing and self._history.can_redo

    def undo(self) -> bool:
        """Restore what the last action changed to what it was before; False when there is nothing to undo."""
        available = self.can_undo
        if available:
            self._history.undo()
        return available

    def redo(self) -> bool:
        """Do again what was undone; False when there is nothing to redo."""
        available = self.can_redo
        if available:
            self._history.redo()
        return available

    def add_step(self, step: UndoStep) -> None:
        """Remember an action of another kind, such as nodes that were added, in its place in the history."""
        self._history.add(step)

    def add_voxels(self, segment_id: str, labelmap: Any) -> None:
        """See ``VoxelTool``."""
        self._modify(segment_id, labelmap, self._logic.ModificationModeAdd, bypass_masking=False)

    def remove_voxels(self, segment_id: str, labelmap: Any) -> None:
        """See ``VoxelTool``."""
        self._modify(segment_id, labelmap, self._logic.ModificationModeRemove, bypass_masking=True)

    def _forget(self) -> None:
        """Have nothing to undo any more: the scene is closed, and in the next one a node may have the same ID."""
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._history = History()
        if SegmentWriter.shared_if_held() is self:
            # Whoever holds on to it would keep it for all that follow.
            SegmentWriter._shared = lambda: None

    def _modify(self, segment_id: str, labelmap: Any, mode: Any, bypass_masking: bool) -> None:
        self._logic.ModifySegmentByLabelmap(
            self._logic.GetSegmentationNode(), segment_id, labelmap, mode, False, bypass_masking
        )


@contextmanager
def _changes_of(segmentation: Any) -> Iterator[list[str]]:
    """Names of what happens to a vtkSegmentation inside, of all that its undo history heeds."""
    heeded = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SourceRepresentationModified")
    changes: list[str] = []
    tags = [
        segmentation.AddObserver(getattr(slicer.vtkSegmentation, name), lambda *_, name=name: changes.append(name))
        for name in heeded
    ]
    try:
        yield changes
    finally:
        for tag in tags:
            segmentation.RemoveObserver(tag)


def _own_editor(scene: Any) -> Any:
    editor = scene.GetSingletonNode(EDITOR_TAG, _EDITOR_CLASS)
    if editor is None:
        editor = slicer.vtkMRMLSegmentEditorNode()
        editor.SetSingletonTag(EDITOR_TAG)
        editor.SetName(EDITOR_TAG)
        editor = scene.AddNode(editor)
    return editor


def open_editor(scene: Any, segmentation_node: Any) -> Any | None:
    """The segment editor node of the scene that has ``segmentation_node`` open, this project's own left out."""
    for number in range(scene.GetNumberOfNodesByClass(_EDITOR_CLASS)):
        editor = scene.GetNthNodeByClass(number, _EDITOR_CLASS)
        if editor.GetSingletonTag() != EDITOR_TAG and editor.GetSegmentationNode() is segmentation_node:
            return editor
    return None
