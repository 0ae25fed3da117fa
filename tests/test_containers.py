"""Dockerfiles of backends: the kind of hardware, the device's options, and hadolint's judgement."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.catalog import backends
from harness.catalog.backend_spec import BackendSpec, Hardware
from harness.contract import HarnessError
from harness.environments import containers

HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
    "hadolint"
)

#: Backends that run on Linux.
BACKENDS = {n: s for n, s in backends.discover().items() if "linux" in s.platforms}


def spec(**facts: Any) -> BackendSpec:
    return BackendSpec(Path("elsewhere", "backends", "acme_npu"), "ACME", **facts)


@pytest.mark.parametrize(
    ("name", "title", "options"),
    [
        ("torch-cpu", "CPU", []),
        ("torch-cuda", "CUDA", ["--gpus all"]),
        ("torch-rocm", "ROCm", ["--device /dev/kfd", "--device /dev/dri", "--group-add render"]),
    ],
)
def test_each_kind_passes_its_device(
    name: str, title: str, options: list[str], capsys: Any
) -> None:
    assert main(["dockerfile", name]) == 0
    text = capsys.readouterr().out
    assert f"({title}); made by `python -m harness dockerfile {name}`" in text
    assert main(["dockerfile", name, "--run"]) == 0
    line = capsys.readouterr().out.strip()
    assert line in text
    for option in options:
        assert f" {option} " in line
    assert line.endswith(f" hf-hardware-matrix:{name}")


@pytest.mark.parametrize("name", BACKENDS)
def test_an_image_has_a_pinned_base_and_no_root(name: str) -> None:
    lines = containers.dockerfile(BACKENDS[name]).splitlines()
    (base,) = (line for line in lines if line.startswith("FROM "))
    assert base.removeprefix("FROM python:") in containers.TAGS.values()
    assert lines.index(f"USER {containers.UID}:{containers.UID}") < lines.index(
        f"COPY --chown={containers.UID}:{containers.UID} . ."
    )
    assert not [line for line in lines if line.startswith("USER root")]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is in the environment of the tests")
@pytest.mark.parametrize("name", BACKENDS)
def test_hadolint_finds_nothing(name: str) -> None:
    assert lint(containers.dockerfile(BACKENDS[name])) == ""


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is in the environment of the tests")
def test_hadolint_finds_a_base_without_a_tag() -> None:
    text = containers.dockerfile(BACKENDS["torch-cpu"])
    assert "DL3006" in lint(text.replace(f":{containers.TAGS[containers.PYTHON]}\nRUN", "\nRUN"))


def lint(text: str) -> str:
    done = subprocess.run(
        [str(HADOLINT), "-"], input=text, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_other_hardware_is_passed_by_its_device_files() -> None:
    hint = Hardware(paths=("/dev/acme0", "/dev/acme[0-9]*", "/sys/acme"), kinds=("accelerator",))
    assert "--rm --device /dev/acme0 --volume" in containers.run_line(spec(hardware=hint))


def test_a_backend_from_elsewhere_says_where_the_package_comes_from() -> None:
    text = containers.dockerfile(spec())
    assert "ARG HF_HARDWARE_MATRIX=hf-hardware-matrix\n" in text
    assert '"${HF_HARDWARE_MATRIX}"' in text
    assert "--no-install-recommends git \\" in text  # which the slim base lacks
    assert HADOLINT is None or lint(text) == ""
    assert "HF_HARDWARE_MATRIX" not in containers.dockerfile(BACKENDS["torch-cpu"])


def test_the_python_is_one_that_the_packages_support() -> None:
    assert containers.TAGS["3.11"] in containers.dockerfile(spec(python=("3.10", "3.11")))
    with pytest.raises(HarnessError, match=r"expected `python` of acme-npu .*found 3\.9"):
        containers.dockerfile(spec(python=("3.9",)))


def test_a_dockerfile_goes_into_a_file(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "Dockerfile"
    assert main(["dockerfile", "mock", "--output", str(path)]) == 0
    assert path.read_text("utf-8") == containers.dockerfile(BACKENDS["mock"])
    assert capsys.readouterr().out == ""


def test_a_backend_of_another_system_has_none(capsys: Any) -> None:
    assert main(["dockerfile", "mps"]) == 2
    assert "expected a backend that runs on Linux, found mps" in capsys.readouterr().err
