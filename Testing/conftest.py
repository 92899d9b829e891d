"""Fixtures shared by all tests."""

from slicer_scene import scene
from tiny_model import tiny_model_folder

__all__ = ["scene", "tiny_model_folder"]
