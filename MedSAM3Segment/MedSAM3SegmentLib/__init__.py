"""The MedSAM3 engine: text-prompted segmentation of CT and MR volumes, without Slicer, Qt or VTK.

Read along one road: prompt -> request -> slices -> features -> detections -> assembled volume -> segment.
Importing this package imports nothing heavy; torch and transformers are imported where a model is loaded.
"""

__version__ = "0.1.0"
