"""Tells Slicer's Segment Editor that the effect is there."""

from __future__ import annotations

from pathlib import Path

import slicer

from .living_effects import remember_effect

#: The effect's name for scripts: ``editor.setActiveEffectByName("MedSAM3")``.
EFFECT_NAME = "MedSAM3"

#: Slicer finds the class by the names of this file and its folder.
EFFECT_FILE = (Path(__file__).parent / "SegmentEditorEffect.py").as_posix()


def register_effect() -> None:
    """Offer the effect in the Segment Editor; a second time changes nothing."""
    factory = slicer.qSlicerSegmentEditorEffectFactory.instance()
    if any(effect.name == EFFECT_NAME for effect in factory.registeredEffects()):
        return
    new_effect().self().register()


def new_effect():  # type: ignore[no-untyped-def]
    """A host of the effect's class, as Slicer's Segment Editor works with it."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    host = effects.qSlicerSegmentEditorScriptedEffect(None)
    host.setPythonSource(EFFECT_FILE)
    remember_effect(host)
    return host
