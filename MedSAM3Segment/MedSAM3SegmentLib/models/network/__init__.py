"""What transformers' SAM 3 computes, in parts that are shared, or faster on CPUs, with the same results."""
