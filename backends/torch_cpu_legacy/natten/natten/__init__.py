"""A stand-in for natten 0.14: neighborhood attention in plain PyTorch, without its kernels."""
