"""A session for the ACME NPU: `nox -s acme-npu`."""

from hf_hardware_matrix.nox_sessions import add_sessions

add_sessions(backends="acme_matrix")
