"""Who may import whom, and what a backend's folder holds."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

HARNESS = sorted(ROOT.glob("harness/**/*.py"))
BACKENDS = sorted(path.parent for path in ROOT.glob("backends/[!_]*/backend.toml"))
SHARED = sorted(ROOT.glob("backends/_shared/**/*.py"))
BACKEND_FILES = [path for folder in BACKENDS for path in sorted(folder.rglob("*.py"))]

#: The wings of the harness, from what a user types down to what everything stands on. Each may
#: import those after it, and none before it.
WINGS = (
    "nox_sessions",
    "commands",
    "session",
    "report",
    "cluster",
    "environments",
    "results",
    "workers",
    "diagnosis",
    "cell",
    "checks",
    "models",
    "inputs",
    "catalog",
    "toolkit",
    "contract",
)

#: Files in the root of the harness, beside the wings.
IN_THE_ROOT = {"__init__.py", "__main__.py", "plugin.py", "contract.py", "py.typed"}

#: The modules that belong to no wing: they stand above all of them.
ABOVE = ("harness", "harness.__main__", "harness.plugin")

#: Modules of the harness that a backend may import: they need numpy and nothing else.
FOR_BACKENDS = ("harness.contract", "harness.toolkit")

#: Packages that take seconds to import, or exist in some environments only.
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

    `from harness import store` may mean the module `harness.results.store`, so that both are named.
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


TOOLKIT = [path for path in HARNESS if module_name(path).startswith("harness.toolkit")]


@pytest.mark.parametrize("path", TOOLKIT, ids=module_name)
def test_toolkit_is_as_light_as_the_contract(path: Path) -> None:
    found = imports(path, everywhere=False)
    assert {top(name) for name in found} <= sys.stdlib_module_names | {"harness", "numpy"}


def wing(module: str) -> str:
    """The wing of a module of the harness; empty for those that stand above all wings."""
    return "" if module in ABOVE else module.split(".")[1]


def test_every_module_of_the_harness_stands_in_a_wing() -> None:
    loose = {path.name for path in ROOT.glob("harness/*") if path.is_file()}
    folders = {path.parent.name for path in ROOT.glob("harness/*/__init__.py")}
    assert loose == IN_THE_ROOT
    assert folders | {"contract"} == set(WINGS)


@pytest.mark.parametrize("path", HARNESS, ids=module_name)
def test_imports_of_the_harness_run_downwards(path: Path) -> None:
    module = module_name(path)
    if module in ABOVE:
        return
    allowed = WINGS[WINGS.index(wing(module)) :]
    ours = {name for name in imports(path) if top(name) == "harness" and name != "harness"}
    assert {name for name in ours if wing(name) not in allowed} == set()


def cycle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """A path along a graph's edges that ends where it began; empty where there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            if found := visit(following, [*path, node]):
                return found
        done.add(node)
        return []

    for node in sorted(graph):
        if found := visit(node, []):
            return found
    return []


def test_a_circle_is_found() -> None:
    assert cycle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]
    assert cycle({"a": ["b", "c"], "b": ["c"], "c": []}) == []


def test_no_imports_run_in_a_circle() -> None:
    files = [*HARNESS, *SHARED, *BACKEND_FILES]
    modules = {module_name(path) for path in files}
    graph = {}
    for path in files:
        module = module_name(path)
        # `from harness.report import words` runs the package too, which may import its modules.
        graph[module] = {
            name
            for name in imports(path) & modules
            if name != module and not module.startswith(f"{name}.")
        }
    assert cycle(graph) == []


def test_no_class_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = {}
    for path in [*HARNESS, *SHARED]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module_name(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


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


def foreign(path: Path, *own: str) -> set[str]:
    """The project's modules that a file of `backends/` imports, beside those that it may."""
    allowed = (*FOR_BACKENDS, "backends._shared", *own)
    ours = {name for name in imports(path) if top(name) in {"backends", "harness"}}
    return {
        name
        for name in ours - {"backends", "harness"}
        if not any(name == one or name.startswith(f"{one}.") for one in allowed)
    }


@pytest.mark.parametrize("path", BACKEND_FILES, ids=module_name)
def test_backend_knows_what_is_shared_and_itself(path: Path) -> None:
    assert not foreign(path, ".".join(path.relative_to(ROOT).parts[:2]))


@pytest.mark.parametrize("path", SHARED, ids=module_name)
def test_what_backends_share_knows_no_backend(path: Path) -> None:
    assert not foreign(path)


@pytest.mark.parametrize("folder", BACKENDS, ids=lambda folder: folder.name)
def test_folder_is_complete(folder: Path) -> None:
    wanted = {"backend.toml", "backend.py", "requirements.in", "requirements.txt"} | {
        "expectations.toml",
        "README.md",
    }
    assert wanted <= {path.name for path in folder.iterdir()}
