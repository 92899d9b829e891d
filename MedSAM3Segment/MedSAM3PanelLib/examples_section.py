"""Examples and templates in the panel: segmented volumes that take the place of words, or say where to look."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MedSAM3SceneLib.requests.example_nodes import shown_concepts
from MedSAM3SegmentLib.vocabulary.phrases import split_phrases

from .parameter_node import PanelMode


def chosen_concepts(parameters: Any) -> tuple[str, ...]:
    """The concepts that were typed; where an example is chosen and nothing is typed, all that it shows."""
    typed = split_phrases(parameters.concepts)
    example = _pair(parameters.example_volume, parameters.example_segmentation)
    return typed or (() if example is None else shown_concepts([example]))


def example_options(parameters: Any) -> dict[str, Any]:
    """What of the choices ``MedSAM3SegmentLogic.start`` takes as ``like`` and ``locate``."""
    return {
        "like": _pair(parameters.example_volume, parameters.example_segmentation),
        "locate": _pair(parameters.template_volume, parameters.template_segmentation),
    }


def why_no_example(parameters: Any) -> str:
    """Why nothing can be segmented with these examples and templates, in one sentence; empty when it can."""
    example, template = parameters.example_volume, parameters.template_volume
    if (example is None) != (parameters.example_segmentation is None):
        return _("Select both the example volume and its segmentation, or neither.")
    if (template is None) != (parameters.template_segmentation is None):
        return _("Select both the template volume and its segmentation, or neither.")
    if example is not None and parameters.mode is PanelMode.FROM_PROMPTS:
        return _("An example takes the place of what is drawn; choose another mode, or no example.")
    if example is not None and parameters.all_planes:
        return _("An example is looked for along one plane; turn all planes off, or choose no example.")
    if template is not None and template is parameters.volume:
        return _("A template is another volume than the one to segment; select that.")
    return ""


def _pair(volume: Any, segmentation: Any) -> tuple[Any, Any] | None:
    return None if volume is None or segmentation is None else (volume, segmentation)
