"""The folder of the backend `acme-npu`."""
