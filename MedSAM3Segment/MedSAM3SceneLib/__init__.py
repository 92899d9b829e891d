"""MRML on one side, the engine's words on the other: volume nodes to volumes, results to segments, undo, provenance.

Everything here runs on the thread that owns the scene, and imports no qt, so it runs on slicer-core without a window.
Read as: ``requests.build`` says what is wanted, ``runs.run`` does it in steps that are too short to be felt:
``volumes.read_in_steps`` -> the engine -> ``write_result.write_in_steps``.
"""
