"""MRML on one side, the engine's words on the other: volume nodes to volumes, results to segments, undo, provenance.

Everything here runs on the thread that owns the scene, and imports no qt, so it runs on slicer-core without a window.
Read as: ``volumes.read_volume_node`` -> the engine -> ``segmentations.write_result``.
"""
