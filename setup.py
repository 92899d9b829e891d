"""What pyproject.toml cannot say: all packages of the engine, and the shared resources as one more beside them."""

from setuptools import find_packages, setup

setup(packages=[*find_packages("MedSAM3Segment", include=["MedSAM3SegmentLib*"]), "MedSAM3SegmentLib.Resources"])
