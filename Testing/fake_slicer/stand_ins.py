"""All stand-ins by the names of Slicer's classes."""

from __future__ import annotations

from .ctk_widgets import CTK_WIDGETS
from .effect_host import EffectFactory, ScriptedEffect
from .mrml_widgets import MRML_WIDGETS
from .segment_editor import SegmentEditorWidget
from .slice_views import LayoutManager, SliceView, SliceWidget

#: What the Segment Editor module brings.
EDITOR_CLASSES: dict[str, type] = {
    "qMRMLSegmentEditorWidget": SegmentEditorWidget,
    "qSlicerSegmentEditorScriptedEffect": ScriptedEffect,
    "qSlicerSegmentEditorEffectFactory": EffectFactory,
}

#: Every stand-in.
STAND_INS: dict[str, type] = {
    **CTK_WIDGETS,
    **MRML_WIDGETS,
    **EDITOR_CLASSES,
    "qSlicerLayoutManager": LayoutManager,
    "qMRMLSliceWidget": SliceWidget,
    "qMRMLSliceView": SliceView,
}
