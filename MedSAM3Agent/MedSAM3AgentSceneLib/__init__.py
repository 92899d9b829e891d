"""The agent in Slicer's scene: rounds as segmentations, and going on from what a person changed. Imports no Qt."""
