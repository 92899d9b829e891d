"""The panel of MedSAM3 Segment: what Qt shows of runs, results, models and the engine.

One file per part of the panel; ``panel`` puts them together. Work is done by MedSAM3SceneLib and MedSAM3SegmentLib.
"""
