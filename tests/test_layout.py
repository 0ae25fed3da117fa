"""Who may import whom, and what a backend's folder holds."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

HARNESS = sorted(ROOT.glob("harness/**/*.py"))
BACKENDS = sorted(path.parent for path in ROOT.glob("backends/[!_]*/backend.toml"))
SHARED_FILES = sorted(ROOT.glob("backends/_*.py")) + sorted(ROOT.glob("backends/_*/**/*.py"))
BACKEND_FILES = [path for folder in BACKENDS for path in sorted(folder.rglob("*.py"))]

#: What of the harness a backend may use: values and words, with numpy and nothing else.
SHARED = {
    "harness.cache",
    "harness.failures",
    "harness.cast",
    "harness.causes",
    "harness.contract",
    "harness.hardware",
    "harness.numerics",
    "harness.padding",
} | {
    "harness.signature",
    "harness.variants",
    "harness.weights",
}

#: What takes seconds to import, or exists in some environments only.
HEAVY = {"accelerate", "diffusers", "onnxruntime", "openvino", "optimum", "tokenizers", "torch"} | {
    "transformers"
}


def module_name(path: Path) -> str:
    """`harness.report` for `harness/report/__init__.py`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that a `from` import names, its dots resolved."""
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *filter(None, [node.module])])


def names(node: ast.AST, package: str) -> list[str]:
    """The modules that one statement imports.

    `from harness import store` may mean the module `harness.store`, so that both are named.
    """
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = absolute(node, package)
        submodules = [f"{module}.{alias.name}" for alias in node.names]
        return [module, *[name for name in submodules if is_module(name)]]
    return []


def is_module(name: str) -> bool:
    """Whether the project has a module or package of this name."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def statements(node: ast.AST, *, everywhere: bool) -> Iterator[ast.AST]:
    """The statements that run on import; with `everywhere`, those in functions too."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not everywhere:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
        yield from statements(child, everywhere=everywhere)


def imports(path: Path, *, everywhere: bool = True) -> set[str]:
    """The modules that a file imports: all, or those that it imports as it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = statements(tree, everywhere=everywhere)
    return {name for node in found for name in names(node, package)}


def top(name: str) -> str:
    """`numpy` for `numpy.typing`."""
    return name.partition(".")[0]


def test_contract_needs_nothing_but_numpy() -> None:
    found = {top(name) for name in imports(ROOT / "harness" / "contract.py")}
    assert found <= sys.stdlib_module_names | {"numpy"}


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_backends_share_is_as_light(name: str) -> None:
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    found = imports(path, everywhere=False) - SHARED
    assert {top(name) for name in found - {"harness"}} <= sys.stdlib_module_names | {"numpy"}


@pytest.mark.parametrize("path", HARNESS, ids=module_name)
def test_harness_names_no_backend_and_imports_no_sdk(path: Path) -> None:
    assert not {name for name in imports(path) if top(name) == "backends"}
    assert not {name for name in imports(path, everywhere=False) if top(name) in HEAVY}


def test_harness_brings_no_sdk_along() -> None:
    # `preload` modules are what the fork server imports, to have an SDK before its children.
    modules = [module_name(path) for path in HARNESS if path.stem not in {"__main__", "preload"}]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"print(sorted({HEAVY | {'backends'}!r} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", BACKEND_FILES, ids=module_name)
def test_backend_knows_what_is_shared_and_itself(path: Path) -> None:
    own = ".".join(path.relative_to(ROOT).parts[:2])
    ours = {name for name in imports(path) if top(name) in {"backends", "harness"}}
    ours -= SHARED | {"harness", "backends"}
    # What several backends share lies in `backends/_name`.
    foreign = {name for name in ours if not name.startswith("backends._")}
    assert not {name for name in foreign if name != own and not name.startswith(f"{own}.")}


@pytest.mark.parametrize("path", SHARED_FILES, ids=module_name)
def test_what_backends_share_knows_no_backend(path: Path) -> None:
    ours = {name for name in imports(path) if top(name) in {"backends", "harness"}}
    foreign = {name for name in ours if not name.startswith("backends._")}
    assert foreign <= SHARED | {"harness", "backends"}


@pytest.mark.parametrize("folder", BACKENDS, ids=lambda folder: folder.name)
def test_folder_is_complete(folder: Path) -> None:
    wanted = {"backend.toml", "backend.py", "requirements.in", "requirements.txt"} | {
        "expectations.toml",
        "README.md",
    }
    assert wanted <= {path.name for path in folder.iterdir()}
