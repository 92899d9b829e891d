"""The choices of the panel: between widgets and parameter node, and what of them goes into a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3SceneLib.mrml.volumes import slice_count
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.request import Adapt, AssemblyOptions

from .examples_section import chosen_concepts, example_options, why_no_example
from .parameter_node import PanelMode, PanelParameters


class RequestForm:
    """Keeps widgets and parameter node the same.

    Args:
        ui: the panel's widgets.
        changed: called when a choice was changed.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self._ui = ui
        self._changed = changed
        self._parameters: Any = None
        self._gui_tag: Any = None
        self._observation: Any = None
        self._updating = False
        #: The ID of the segmentation that was chosen last for a volume, by the volume's ID.
        self._segmentations: dict[str, str] = {}
        # Slicer's own connection would offer scalar volumes only, and move the cursor of who types.
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._take_volume)
        ui.conceptsEdit.connect("textChanged()", self._take_concepts)
        # The segment selector has no words of its own for "anywhere"; it is seen once there is a segment to choose.
        ui.insideSegmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", ui.insideSelector.setCurrentNode)
        ui.insideSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._take_inside)
        ui.insideSelector.connect("currentSegmentChanged(QString)", self._take_inside)
        ui.rangeCheckBox.connect("clicked(bool)", self._begin_range)

    @property
    def parameters(self) -> Any:
        """The PanelParameters, or None while the panel belongs to no scene."""
        return self._parameters

    def connect(self, parameter_node: Any) -> None:
        """Keep the choices in ``parameter_node`` (a vtkMRMLScriptedModuleNode) from now on."""
        self.disconnect()
        self._parameters = PanelParameters(parameter_node)
        self._gui_tag = self._parameters.connectGui(self._ui)
        self._observation = parameter_node.AddObserver("ModifiedEvent", self._show)
        if self._parameters.volume is None:
            self._parameters.volume = self._ui.volumeSelector.currentNode() or _first_volume()
        self._show()

    def disconnect(self) -> None:
        """Keep the choices nowhere."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self._parameters.parameterNode.RemoveObserver(self._observation)
            self._parameters = None

    def remember(self, volume: Any, segmentation: Any | None) -> None:
        """Who chooses ``volume`` again gets ``segmentation`` with it."""
        self._segmentations[volume.GetID()] = segmentation.GetID() if segmentation is not None else ""

    def forget(self) -> None:
        """Another scene has other nodes."""
        self._segmentations.clear()

    def why_not(self, view: Any) -> str:
        """Why nothing can be segmented yet, in one sentence; empty when something can.

        Args:
            view: the slice node of the chosen view, or None.
        """
        parameters = self._parameters
        if parameters is None or parameters.volume is None:
            return _("Select a volume first.")
        if reason := why_no_example(parameters):
            return reason
        if not chosen_concepts(parameters):
            return _("Type at least one concept first.")
        if parameters.mode is PanelMode.THIS_SLICE and view is None:
            return _("There is no slice view; choose a layout that has one, or another mode.")
        if parameters.mode is PanelMode.FROM_PROMPTS and parameters.segmentation is None:
            return _("Select the segmentation in which you drew a slice of the object.")
        if parameters.range_is_used and parameters.mode is not PanelMode.THIS_SLICE:
            if parameters.first_slice > parameters.last_slice:
                return _("The first slice comes after the last one.")
            count = self._slice_count()
            if count is not None and parameters.last_slice >= count:
                return _("The volume has the slices 0 to {last} only; choose others.").format(last=count - 1)
        if parameters.inside_segmentation is not None and not parameters.inside_segment:
            return _("Select the segment that everything must lie in, or no segmentation for it.")
        return ""

    def why_no_preview(self, view: Any) -> str:
        """Why a slice cannot be previewed where a run can be begun, in one sentence; empty when it can."""
        if view is None:
            return _("There is no slice view.")
        if self._parameters.example_volume is not None:
            return _("A slice is previewed by words; choose no example for it.")
        if self._parameters.mode is PanelMode.FROM_PROMPTS:
            return _("What was drawn is followed from slice to slice; one slice alone cannot show where to.")
        return ""

    def options(self, view: Any) -> dict[str, Any]:
        """What ``MedSAM3SegmentLogic.start`` takes.

        Args:
            view: the slice node of the chosen view, for the mode that segments only what it shows.
        """
        parameters = self._parameters
        plane = parameters.plane.engine_plane
        others = [name for name in (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL) if name is not plane]
        return {
            **self.preview_options(),
            **example_options(parameters),
            "mode": parameters.mode.engine_mode,
            "plane": plane,
            "slices": (parameters.first_slice, parameters.last_slice + 1) if parameters.range_is_used else None,
            "grouping": parameters.grouping.engine_grouping,
            "morePlanes": others if parameters.all_planes else (),
            "view": view if parameters.mode is PanelMode.THIS_SLICE else None,
            "adapt": Adapt.SLICES if self._learns() else None,
            "adaptName": parameters.adapt_name.strip() if self._learns() else "",
            "skim": parameters.skim if parameters.mode is PanelMode.SLICES else 1,
            "sliceDistance": parameters.slice_distance if parameters.mode is PanelMode.SLICES else 0.0,
        }

    def _learns(self) -> bool:
        """Whether a copy of the model learns from what was drawn."""
        return bool(self._parameters.adapt) and self._parameters.mode is PanelMode.FROM_PROMPTS

    def preview_options(self) -> dict[str, Any]:
        """What of it ``MedSAM3SegmentLogic.startPreview`` takes too: all that says something of a single slice."""
        parameters = self._parameters
        inside = (parameters.inside_segmentation, parameters.inside_segment)
        assembly = AssemblyOptions(
            link=parameters.link,
            hysteresis=parameters.hysteresis,
            fill_gaps=parameters.fill_gaps,
            drop_isolated=parameters.drop_isolated,
            largest_only=parameters.largest_only,
        )
        return {
            "roi": parameters.roi,
            "inside": inside if parameters.inside_segmentation is not None else None,
            "assembly": assembly,
            "model": parameters.model or "demo",
            "device": parameters.device or "auto",
            "draft": bool(parameters.draft),
        }

    def _take_volume(self, node: Any = None) -> None:
        parameters = self._parameters
        if parameters is not None and not self._updating:
            if parameters.volume is not None:
                self.remember(parameters.volume, parameters.segmentation)
            parameters.volume = node
            if node is not None and (parameters.segmentation is None or _is_of_another(parameters.segmentation, node)):
                # Or the segments of one patient would go in among those of another.
                parameters.segmentation = self._chosen_before(node)
        self._changed()

    def _chosen_before(self, volume: Any) -> Any | None:
        """The segmentation that was chosen when ``volume`` was chosen last, if it is still there."""
        segmentation = slicer.mrmlScene.GetNodeByID(self._segmentations.get(volume.GetID(), ""))
        return None if _is_of_another(segmentation, volume) else segmentation

    def _take_concepts(self) -> None:
        if self._parameters is not None and not self._updating:
            self._parameters.concepts = self._ui.conceptsEdit.plainText
        self._changed()

    def _take_inside(self, _news: Any = None) -> None:
        if self._parameters is not None and not self._updating:
            self._parameters.inside_segmentation = self._ui.insideSelector.currentNode()
            self._parameters.inside_segment = self._ui.insideSelector.currentSegmentID()
        self._changed()

    def _begin_range(self, is_used: bool) -> None:
        """Who limits the slices for the first time begins with all of them."""
        parameters, count = self._parameters, self._slice_count()
        if is_used and parameters is not None and count and not (parameters.first_slice or parameters.last_slice):
            parameters.last_slice = count - 1

    def _slice_count(self) -> int | None:
        """How many slices there are to choose from; None where that is not known."""
        parameters = self._parameters
        if parameters is None or parameters.volume is None:
            return None
        try:
            return slice_count(parameters.volume, parameters.plane.engine_plane)
        except InputError:
            return None  # which Apply says in words

    def _show(self, _caller: Any = None, _event: Any = None) -> None:
        """Bring the widgets that are not connected by name up to date, without moving the cursor of who types."""
        if self._parameters is None or self._updating:
            return
        self._updating = True
        ui, parameters = self._ui, self._parameters
        if ui.volumeSelector.currentNode() is not parameters.volume:
            ui.volumeSelector.setCurrentNode(parameters.volume)
        if ui.conceptsEdit.plainText != parameters.concepts:
            ui.conceptsEdit.plainText = parameters.concepts
        if ui.insideSegmentationSelector.currentNode() is not parameters.inside_segmentation:
            ui.insideSegmentationSelector.setCurrentNode(parameters.inside_segmentation)
        if ui.insideSelector.currentNode() is not parameters.inside_segmentation:
            ui.insideSelector.setCurrentNode(parameters.inside_segmentation)
        if parameters.inside_segment and ui.insideSelector.currentSegmentID() != parameters.inside_segment:
            ui.insideSelector.setCurrentSegmentID(parameters.inside_segment)
        ui.insideSelector.visible = parameters.inside_segmentation is not None
        # The slice of a view has its own plane and place.
        is_free = parameters.mode is not PanelMode.THIS_SLICE
        ui.adaptCheckBox.visible = parameters.mode is PanelMode.FROM_PROMPTS
        ui.adaptNameEdit.visible = self._learns()
        ui.planeSelector.enabled = ui.morePlanesCheckBox.enabled = ui.rangeCheckBox.enabled = is_free
        ui.skimBox.enabled = ui.sliceDistanceBox.enabled = parameters.mode is PanelMode.SLICES
        ui.firstSliceBox.enabled = ui.lastSliceBox.enabled = is_free and parameters.range_is_used
        count = self._slice_count()
        ui.lastSliceBox.suffix = "" if count is None else _(" of {last}").format(last=count - 1)
        self._updating = False
        self._changed()


def _is_of_another(segmentation: Any, volume: Any) -> bool:
    """Whether a segmentation, or None, was made over another volume than ``volume``."""
    if segmentation is None:
        return False
    made_over = segmentation.GetNodeReferenceID(segmentation.GetReferenceImageGeometryReferenceRole())
    return made_over not in (None, "", volume.GetID())


def _first_volume() -> Any:
    """The volume that a user most likely means, or None."""
    scene = slicer.mrmlScene
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLScalarVolumeNode")
        if not node.IsA("vtkMRMLLabelMapVolumeNode") and not node.GetHideFromEditors():
            return node
    return None
