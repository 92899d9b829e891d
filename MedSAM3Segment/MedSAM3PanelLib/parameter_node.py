"""What a user chose in the panel, kept in a node of the scene. Nothing secret is in it: no address, no token."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.request import AssemblyOptions, Grouping, Mode

_MOST_SLICES = 99999
_LONGEST_STEP = 99
_LONGEST_DISTANCE_MM = 50.0


class PanelMode(Enum):
    """The modes as the panel offers them."""

    THIS_SLICE = 1
    SLICES = 2
    PROPAGATE = 3
    FROM_PROMPTS = 4

    def label(self) -> str:
        """What the panel calls it."""
        return {
            PanelMode.THIS_SLICE: _("This slice"),
            PanelMode.SLICES: _("Slices"),
            PanelMode.PROPAGATE: _("Propagate"),
            PanelMode.FROM_PROMPTS: _("From prompts"),
        }[self]

    @property
    def engine_mode(self) -> Mode:
        return {PanelMode.PROPAGATE: Mode.PROPAGATE, PanelMode.FROM_PROMPTS: Mode.FROM_PROMPTS}.get(self, Mode.SLICES)


class PanelPlane(Enum):
    """The planes as the panel offers them."""

    ACQUIRED = 1
    AXIAL = 2
    CORONAL = 3
    SAGITTAL = 4

    def label(self) -> str:
        """What the panel calls it."""
        return {
            PanelPlane.ACQUIRED: _("As acquired"),
            PanelPlane.AXIAL: _("Axial"),
            PanelPlane.CORONAL: _("Coronal"),
            PanelPlane.SAGITTAL: _("Sagittal"),
        }[self]

    @property
    def engine_plane(self) -> Plane:
        return Plane[self.name]


class PanelGrouping(Enum):
    """What becomes one segment, as the panel offers it."""

    CONCEPT = 1
    INSTANCE = 2

    def label(self) -> str:
        """What the panel calls it."""
        return {
            PanelGrouping.CONCEPT: _("One per concept"),
            PanelGrouping.INSTANCE: _("One per object"),
        }[self]

    @property
    def engine_grouping(self) -> Grouping:
        return Grouping[self.name]


@parameterNodeWrapper
class PanelParameters:
    """The panel's choices.

    Attributes:
        volume: what to segment.
        segmentation: where segments go; None for a new one.
        concepts: the text as typed.
        adapt: whether a copy of the model learns from what was drawn first.
        adapt_name: what to keep that copy as; empty to throw it away.
        range_is_used, first_slice, last_slice: which slices of the plane; both ends are included.
        roi: only what is in this box.
        inside_segmentation, inside_segment: only what is in this segment, by its ID.
        all_planes: whether all three planes are looked along.
        skim: every how many slices are looked at first; 1 for all.
        slice_distance: slices nearer to each other are interpolated, in millimeters; 0 for none.
        draft: whether half of the model's own pixels are looked at.
        link, hysteresis, fill_gaps, drop_isolated, largest_only: the clean-up steps, as in ``AssemblyOptions``.
        model, device: as ``medsam3 segment`` takes them.
        example_volume, example_segmentation: what shows the concepts in place of words; None for words.
        template_volume, template_segmentation: what says where the concepts lie; None to search everywhere.
        view: the layout name of the slice view that is meant, such as ``Red``; empty for the first one.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    concepts: str
    mode: Annotated[PanelMode, Default(PanelMode.SLICES)]
    adapt: bool
    adapt_name: str
    plane: Annotated[PanelPlane, Default(PanelPlane.ACQUIRED)]
    range_is_used: bool
    first_slice: Annotated[int, WithinRange(0, _MOST_SLICES)]
    last_slice: Annotated[int, WithinRange(0, _MOST_SLICES)]
    roi: slicer.vtkMRMLMarkupsROINode
    inside_segmentation: slicer.vtkMRMLSegmentationNode
    inside_segment: str
    grouping: Annotated[PanelGrouping, Default(PanelGrouping.CONCEPT)]
    all_planes: bool
    skim: Annotated[int, WithinRange(1, _LONGEST_STEP), Default(1)]
    slice_distance: Annotated[float, WithinRange(0.0, _LONGEST_DISTANCE_MM), Default(0.0)]
    draft: bool
    link: Annotated[bool, Default(AssemblyOptions.link)]
    hysteresis: Annotated[bool, Default(AssemblyOptions.hysteresis)]
    fill_gaps: Annotated[bool, Default(AssemblyOptions.fill_gaps)]
    drop_isolated: Annotated[bool, Default(AssemblyOptions.drop_isolated)]
    largest_only: Annotated[bool, Default(AssemblyOptions.largest_only)]
    model: Annotated[str, Default("demo")]
    device: Annotated[str, Default("auto")]
    view: str
    example_volume: slicer.vtkMRMLScalarVolumeNode
    example_segmentation: slicer.vtkMRMLSegmentationNode
    template_volume: slicer.vtkMRMLScalarVolumeNode
    template_segmentation: slicer.vtkMRMLSegmentationNode
