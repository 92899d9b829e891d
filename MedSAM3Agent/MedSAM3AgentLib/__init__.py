"""The agent: proposes, looks and refines a segmentation from a described finding. Imports neither slicer nor qt."""
