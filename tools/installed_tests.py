"""The project's tests on the installed wheel: no `harness/` and no `backends/` anywhere near.

python -m tools.installed_tests [OPTIONS AND FILES OF PYTEST]

`nox -s tests -- --installed` runs this. A wheel is built from the checkout and installed into an
environment of its own, which takes the other packages from the one that runs this. A temporary
folder gets the tests, with the imports of the wheel, and pytest runs there. Tests that look at the
checkout itself stay out: `tests/of_a_checkout.toml` names them, each with its reason, and all are
printed at the end.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import uv

from tools.wheel import PACKAGE, TEXTS, Renaming

ROOT = Path(__file__).resolve().parent.parent

#: The table of tests that need the checkout: a file, or a test of it, with the reason.
TABLE = Path("tests", "of_a_checkout.toml")

#: Variables that lead to the checkout, or to another pytest's settings.
DROPPED = ("PYTHONPATH", "HARNESS_BACKEND", "HARNESS_CACHE", "PYTEST_ADDOPTS", "VIRTUAL_ENV")


def left_out(root: Path = ROOT) -> Mapping[str, str]:
    """The tests that look at a checkout, as `tests/test_x.py` or `tests/test_x.py::test_y`.

    Args:
        root: of the checkout.

    Returns:
        Each with its reason.
    """
    rows = tomllib.loads((root / TABLE).read_text(encoding="utf-8"))["left_out"]
    return {f"tests/{name}": row["reason"] for row in rows for name in row["tests"]}


def functions(path: Path) -> list[str]:
    """The names of the test functions in a file."""
    return [
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def summary(root: Path = ROOT) -> str:
    """The tests that stay out, counted, with the reasons."""
    rows = left_out(root)
    total = sum(len(functions(path)) for path in (root / "tests").glob("test_*.py"))
    count = sum(1 if "::" in name else len(functions(root / name)) for name in rows)
    lines = [f"left out, since they look at the checkout: {count} of {total} test functions"]
    return "\n".join([*lines, *(f"  {name}: {reason}" for name, reason in rows.items())])


def copy_tests(root: Path, folder: Path) -> None:
    """Copy the tests and their settings, with names of the wheel in place of the checkout's.

    Args:
        root: of the checkout.
        folder: that gets `tests/` and `pyproject.toml`.
    """
    whole = {Path(name).name for name in left_out(root) if "::" not in name}
    unwanted = shutil.ignore_patterns("__pycache__", *whole)
    shutil.copytree(root / "tests", folder / "tests", ignore=unwanted)
    shutil.copy(root / "pyproject.toml", folder)
    renaming = Renaming(root)
    for path in [folder / "pyproject.toml", *(folder / "tests").rglob("*")]:
        if path.suffix in TEXTS and path.is_file():
            renamed = renaming(path.read_text(encoding="utf-8"))
            # Commands as lists of words: `[sys.executable, "-m", "harness", "list"]`.
            renamed = re.sub(r'"-m",(\s+)"harness"', rf'"-m",\1"{PACKAGE}"', renamed)
            path.write_text(renamed, encoding="utf-8", newline="\n")


def install(root: Path, folder: Path) -> Path:
    """Build the wheel, and install it into a new environment.

    Args:
        root: of the checkout.
        folder: that gets the environment.

    Returns:
        The Python of the environment.
    """
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=root, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    made = folder / "venv"
    uv_bin = uv.find_uv_bin()
    venv = [uv_bin, "venv", "--quiet", "--python", sys.executable, str(made)]
    subprocess.run(venv, check=True)
    python = made.joinpath(*(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
    command = [uv_bin, "pip", "install", "--quiet", "--no-deps", "--python", str(python)]
    subprocess.run([*command, str(wheel)], check=True)
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    # What the wheel needs comes from here; its place is another than this environment's.
    packages = sysconfig.get_path("purelib")
    Path(own, "others.pth").write_text(
        f"import site; site.addsitedir({packages!r})\n", encoding="utf-8"
    )
    return python


def main(arguments: Sequence[str]) -> int:
    """Run pytest on the installed wheel; returns its exit status."""
    with tempfile.TemporaryDirectory(prefix="installed-tests-") as temporary:
        place = Path(temporary, "place")
        place.mkdir()
        copy_tests(ROOT, place)
        python = install(ROOT, Path(temporary))
        kept = {name: value for name, value in os.environ.items() if name not in DROPPED}
        scripts = [str(python.parent), sysconfig.get_path("scripts"), kept.get("PATH", "")]
        environment = {**kept, "PATH": os.pathsep.join(scripts)}
        options = [f"--deselect={name}" for name in left_out() if "::" in name]
        command = [str(python), "-m", "pytest", "-c", "pyproject.toml", *options, *arguments]
        done = subprocess.run(command, cwd=place, env=environment, check=False)
    print(summary())
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
