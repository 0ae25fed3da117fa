"""A vendor's package as an installer leaves it: modules, data and metadata in one folder."""

from __future__ import annotations

from pathlib import Path

#: A backend with a device of its own, which otherwise computes as the mock does.
BACKEND = """
from hf_hardware_matrix.backends.mock.backend import Backend as Mock
from hf_hardware_matrix.contract import Device


class Backend(Mock):
    def probe(self) -> Device:
        return Device("ACME NPU", "npu", {"acme": "3.1"}, emulated=True)
"""


def write_vendor(
    folder: Path,
    *,
    value: str = "acme_matrix.acme_npu",
    name: str = "acme_npu",
    toml: str = "contract = 1",
    backend: str = BACKEND,
    distribution: str = "acme-matrix",
) -> Path:
    """Write a distribution with one backend; returns the backend's folder."""
    metadata = folder / f"{distribution.replace('-', '_')}-2.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.0\n"
    )
    (metadata / "entry_points.txt").write_text(
        f"[hf_hardware_matrix.backends]\n{name} = {value}\n", encoding="utf-8"
    )
    made = folder
    for part in value.split("."):
        made = made / part
        made.mkdir(exist_ok=True)
        (made / "__init__.py").touch()
    (made / "backend.toml").write_text(
        f'title = "ACME\'s NPU"\n{toml}\npreload = ["hf_hardware_matrix.backends.mock.preload"]\n'
        'models = "smoke"\n',
        encoding="utf-8",
    )
    (made / "backend.py").write_text(backend, encoding="utf-8")
    (made / "requirements.txt").write_text("acme-sdk==3.1\n", encoding="utf-8")
    (made / "expectations.toml").touch()
    return made
