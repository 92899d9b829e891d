"""Training a SAM 3 of any size, and the synthetic anatomy the demo model learns from."""
