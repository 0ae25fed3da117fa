"""Dockerfiles of backends: one a kind of hardware, with the line that passes the device.

PyTorch's wheels bring the libraries of CUDA and ROCm, and the host has the driver, so that one base
image serves all kinds. It is pinned by name and tag: no registry of images is asked for a digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.catalog.backend_spec import BACKENDS, BackendSpec
from harness.contract import HarnessError
from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_file import TomlFile

TABLE = Path(__file__).with_suffix(".toml")

#: Tags of the base image `python`, by the Python that a backend's packages are for.
TAGS: Mapping[str, str] = {
    "3.11": "3.11.14-slim-bookworm",
    "3.12": "3.12.12-slim-bookworm",
    "3.13": "3.13.9-slim-bookworm",
}

#: The Python of a backend that supports each of them.
PYTHON = "3.12"

#: Version of nox, as the project's own tests have it.
NOX = "2026.10.20"

#: The user of the image, which is not root.
USER, UID = "harness", 1000

#: The folder of the session in an image.
PLACE = f"/home/{USER}/matrix"


@dataclass(frozen=True, slots=True)
class ContainerKind:
    """One table of `containers.toml`.

    Attributes:
        title: of the kind, for people.
        kinds: of hardware, as `harness.toolkit.hardware.Part` names them.
        run: options of `docker run` that pass the device.
        environment: variables that the image sets.
        reason: why these.
    """

    title: str
    kinds: tuple[str, ...]
    run: tuple[str, ...]
    environment: Mapping[str, str]
    reason: str


@cache
def container_kinds() -> tuple[ContainerKind, ...]:
    """The tables of `containers.toml`."""
    source = TomlFile(TABLE)
    source.check_tables(keys_of(ContainerKind))
    return tuple(
        ContainerKind(
            table["title"],
            tuple(table["kinds"]),
            tuple(table.get("run", ())),
            table.get("environment", {}),
            table["reason"],
        )
        for table in source.tables.values()
    )


def kind_of(spec: BackendSpec) -> ContainerKind:
    """The kind of hardware that a backend's container needs.

    Raises:
        HarnessError: the backend does not run on Linux.
    """
    if "linux" not in spec.platforms:
        raise HarnessError(
            f"expected a backend that runs on Linux, found {spec.name}, for "
            f"{', '.join(spec.platforms)}. Fix: `nox -s {spec.name}` runs it without a container"
        )
    hint = spec.hardware
    first = hint.kinds[0] if hint is not None and hint.kinds else "cpu"
    known = {kind: row for row in container_kinds() for kind in row.kinds}
    if hint is None or hint.kinds:
        found = known.get(first)
        if found is not None:
            return found
    files = [path for path in hint.paths if path.startswith("/dev/")] if hint else []
    plain = [path for path in files if not set("*?[") & set(path)]
    run = tuple(f"--device {path}" for path in plain)
    return ContainerKind(first, (first,), run, {}, "The device files are those of its hint.")


def python_of(spec: BackendSpec) -> str:
    """The Python of a backend's image.

    Raises:
        HarnessError: there is no tag for one that its packages support.
    """
    if not spec.python or PYTHON in spec.python:
        return PYTHON
    for version in reversed(spec.python):
        if version in TAGS:
            return version
    raise HarnessError(
        f"expected `python` of {spec.name} to have one of {', '.join(TAGS)}, found "
        f"{', '.join(spec.python)}. Fix: add its tag to harness/environments/containers.py"
    )


def image(spec: BackendSpec) -> str:
    """The name of a backend's image."""
    return f"hf-hardware-matrix:{spec.name}"


def run_line(spec: BackendSpec) -> str:
    """The command that runs a backend's session in its image, with the device."""
    volume = f'--volume "$PWD/results:{PLACE}/results"'
    options = ["--rm", *kind_of(spec).run, volume]
    return f"docker run {' '.join(options)} {image(spec)}"


def dockerfile(spec: BackendSpec) -> str:
    """The Dockerfile of a backend, for a build in the folder of its noxfile.

    Raises:
        HarnessError: the backend does not run on Linux, or on no Python with a known tag.
    """
    kind = kind_of(spec)
    tag = TAGS[python_of(spec)]
    packages = [f'"nox[uv]=={NOX}"']
    lines = [
        f"# {spec.title} ({kind.title}); made by `python -m harness dockerfile {spec.name}`.",
        "#",
        "# In the folder of the noxfile:",
        f"#   docker build --tag {image(spec)} --file Dockerfile .",
        f"#   mkdir -p results && {run_line(spec)}",
        f"# The image's user, of the id {UID}, writes into results/: let it, if yours is another.",
        "# What stands behind the image's name goes to the session, as --models bert.",
        "#",
        "# The base is pinned by name and tag. A tag can be moved: to pin its digest too,",
        f"#   docker buildx imagetools inspect python:{tag}",
    ]
    lines += ["#", f"# {kind.reason}", f"FROM python:{tag}"]
    system = {}
    elsewhere = spec.folder.parent != BACKENDS
    if elsewhere:
        # Where the package comes from is the builder's to say: no index has it.
        lines.append("ARG HF_HARDWARE_MATRIX=hf-hardware-matrix")
        packages.append('"${HF_HARDWARE_MATRIX}"')
        system["git"] = "git, for packages that come from a repository"
    if spec.interpose:
        system["gcc libc6-dev"] = "a compiler, for the backend's LD_PRELOAD shim"
    if system:
        lines += [
            f"# Debian's {'; '.join(system.values())}. It keeps no old versions to pin.",
            "# hadolint ignore=DL3008",
            "RUN apt-get update \\",
            f"    && apt-get install --yes --no-install-recommends {' '.join(system)} \\",
            "    && rm -rf /var/lib/apt/lists/*",
        ]
    variables = {"HF_HUB_OFFLINE": "1", "PIP_NO_CACHE_DIR": "1", **kind.environment}
    settings = " \\\n    ".join(f'{name}="{value}"' for name, value in variables.items())
    lines += [
        f"RUN useradd --create-home --uid {UID} --user-group {USER} \\",
        f"    && install --directory --owner {USER} --group {USER} {PLACE}",
        f"USER {UID}:{UID}",
        f"WORKDIR {PLACE}",
        f'ENV PATH="/home/{USER}/.local/bin:${{PATH}}" \\\n    {settings}',
        f"COPY --chown={UID}:{UID} . .",
        *(["# hadolint ignore=DL3013"] if elsewhere else []),  # the builder's argument has the pin
        f"RUN python -m pip install --no-cache-dir --user {' '.join(packages)} \\",
        f"    && nox --session {spec.name} --install-only \\",
        "    && uv cache clean",
        f'ENTRYPOINT ["nox", "--session", "{spec.name}", "--", "--require-device"]',
    ]
    return "\n".join(lines) + "\n"
