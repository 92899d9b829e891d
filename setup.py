"""What pyproject.toml cannot say: the packages of engine and agent, and the shared resources beside them."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages("MedSAM3Segment", include=["MedSAM3SegmentLib*"]),
        *find_packages("MedSAM3Agent", include=["MedSAM3AgentLib*"]),
        "MedSAM3SegmentLib.Resources",
    ]
)
