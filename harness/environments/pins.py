"""Lock files: a backend's `requirements.txt` as uv compiles it, made independent of the machine."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import requires
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

#: Arguments of uv that name what the harness needs, in a checkout.
GROUP = ("--group", "pyproject.toml:harness")
#: One line of a compiled file: a pin, the build that it was compiled for, and its marker.
PIN = re.compile(r"(?P<pin>[\w.-]+(\[[\w,.-]+\])?==[^\s;+]+)(\+[^\s;]+)?( ; (?P<marker>.+))?")
#: `os_name` and `platform_system` of each `sys_platform`, as markers name them.
SYSTEMS = {"linux": ("posix", "Linux"), "darwin": ("posix", "Darwin"), "win32": ("nt", "Windows")}
#: `platform_machine` of the processors that have wheels, in every spelling.
ARCHITECTURES = ("x86_64", "AMD64", "aarch64", "arm64", "ARM64")
#: The minor versions of Python 3 that a marker is evaluated for.
PYTHON_MINORS = range(11, 20)


def compiled(
    run: Callable[[Sequence[str]], object],
    source: str,
    old: str,
    *,
    python: str,
    platforms: Sequence[str],
    cuda: bool,
    options: Sequence[str],
    excludes: str = "",
    harness: Sequence[str] = GROUP,
) -> str:
    """The pins that uv compiles from a `requirements.in`, tidied.

    Args:
        run: runs a command in the root of the checkout, with uv at hand.
        source: the `requirements.in`, relative to the root.
        old: the pins so far; uv keeps the versions that still fit.
        python: the oldest Python that the pins are for, `3.11`.
        platforms: the values of `sys.platform` that the pins are for.
        cuda: whether torch comes with CUDA, so that the packages of CUDA stay.
        options: further arguments of `uv pip compile`.
        excludes: packages to leave out, a line each.
        harness: arguments of uv that name what the harness itself needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, excluded = Path(folder, "requirements.txt"), Path(folder, "excludes.txt")
        output.write_text(old, encoding="utf-8")
        excluded.write_text(excludes, encoding="utf-8")
        command = [
            *("uv", "pip", "compile", "--quiet", "--universal"),
            *("--python-version", python, "--custom-compile-command", "nox -s lock"),
            *("--excludes", str(excluded), "--output-file", str(output)),
            *(*harness, *options, source),
        ]
        run(command)
        # torch asks for CUDA unless it comes from another wheel index, which need not be in reach
        # where the pins are compiled.
        if not cuda and (unwanted := cuda_packages(output.read_text(encoding="utf-8"))):
            excluded.write_text("\n".join([excludes, *unwanted]), encoding="utf-8")
            run(command)
        return tidy(output.read_text(encoding="utf-8"), platforms)


def own_requirements(distribution: str) -> str:
    """The text of a `requirements.in` with what an installed distribution needs, without extras."""
    needed = requires(distribution) or []
    return "".join(f"{line}\n" for line in needed if "extra ==" not in line)


def package_of(requirement: str) -> str:
    """The package that a requirement (PEP 508) is of: `transformers` for `transformers==5.22.0`.

    Raises:
        packaging.requirements.InvalidRequirement: it is none.
    """
    return Requirement(requirement).name


def with_requirement(requirements: str, requirement: str) -> str:
    """The text of a `requirements.in` that has one requirement in place of that package's own.

    Raises:
        packaging.requirements.InvalidRequirement: the requirement is none.
    """
    package = re.escape(package_of(requirement))
    pattern = rf"^{package}(?:\[[\w,-]+\])?(?![\w.-]).*\n"
    return f"{re.sub(pattern, '', requirements, flags=re.MULTILINE)}{requirement}\n"


def without(pins: str, package: str) -> str:
    """The pins without those of one package."""
    return re.sub(rf"^{re.escape(package)}==.*\n", "", pins, flags=re.MULTILINE)


def apart(requirements: Iterable[str]) -> str:
    """The name of a folder for what differs from the pins by these requirements; empty for none."""
    words = (re.sub(r"[^\w.+]+", "-", requirement).strip("-") for requirement in requirements)
    joined = "_".join(words)
    return f"with-{joined}" if joined else ""


def cuda_packages(pins: str) -> list[str]:
    """The names of packages that only CUDA builds of torch require, such as `nvidia-nccl-cu13`."""
    return re.findall(r"^((?:nvidia|cuda)-[\w.-]+|triton)(?=\[|==)", pins, re.MULTILINE)


def without_cuda(pins: str) -> str:
    """The pins without `cuda_packages` and their comments."""
    unwanted = "|".join(map(re.escape, cuda_packages(pins))) or "(?!)"
    return re.sub(rf"^(?:{unwanted})(?:\[[\w,.-]+\])?==.*\n(?:    #.*\n)*", "", pins, flags=re.M)


def tidy(pins: str, platforms: Sequence[str]) -> str:
    """The pins with one line a version, and markers only where they decide something.

    `2.13.0+cpu` becomes `2.13.0`: which build it is, is the wheel index's say. Two builds of one
    version become one line. A pin that no platform wants goes, and a marker that holds on every
    platform goes.

    Args:
        pins: a compiled file.
        platforms: the values of `sys.platform` that the pins are for.

    Raises:
        packaging.markers.InvalidMarker: a marker is malformed.
    """
    header: list[str] = []
    markers: dict[str, list[str]] = {}
    comments: dict[str, list[str]] = {}
    pin = ""
    for line in pins.splitlines():
        if found := PIN.fullmatch(line):
            pin = found["pin"]
            markers.setdefault(pin, []).append(found["marker"] or "")
            comments.setdefault(pin, [])
        elif not pin:
            header.append(line)
        elif line not in comments[pin]:
            comments[pin].append(line)
    lines = header
    environments = marker_environments(platforms)
    for pin, alternatives in markers.items():
        parsed = [Marker(text) for text in alternatives if text]
        always = len(parsed) < len(alternatives)
        held = [always or any(m.evaluate(where) for m in parsed) for where in environments]
        if any(held):
            joined = " or ".join(alternatives)
            lines += [pin if all(held) else f"{pin} ; {joined}", *comments[pin]]
    return "\n".join(lines) + "\n"


def marker_environments(platforms: Sequence[str]) -> list[dict[str, str]]:
    """Marker environments (PEP 508): every Python and processor on each of the platforms."""
    return [
        {
            "python_version": f"3.{minor}",
            "python_full_version": f"3.{minor}.0",
            "sys_platform": platform,
            "os_name": SYSTEMS[platform][0],
            "platform_system": SYSTEMS[platform][1],
            "platform_machine": architecture,
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
        }
        for minor in PYTHON_MINORS
        for platform in platforms
        for architecture in ARCHITECTURES
    ]
