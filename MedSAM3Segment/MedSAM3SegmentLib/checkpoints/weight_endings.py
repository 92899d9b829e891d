"""What weight files are called, known without PyTorch: the panel looks at models before PyTorch is installed."""

from __future__ import annotations

SAFETENSORS_ENDINGS = (".safetensors",)
PYTORCH_ENDINGS = (".pt", ".pth", ".bin", ".ckpt")
