"""Checkpoints, and the one exact model they become: transformers' ``Sam3Model`` behind ``Sam3Detector``."""
