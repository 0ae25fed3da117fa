"""PyTorch: the backend that CPU, CUDA, ROCm and MPS share."""
