"""Sessions on our own models: `nox -s torch-cpu`."""

from hf_hardware_matrix.nox_sessions import add_sessions

add_sessions(backends="torch-cpu", lists="models.toml")
