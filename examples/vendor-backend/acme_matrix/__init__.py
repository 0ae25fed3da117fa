"""Backend of the ACME NPU for hf-hardware-matrix."""
