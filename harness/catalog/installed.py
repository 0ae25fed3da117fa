"""The architectures of the installed transformers, read from its source without importing it."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

from harness.contract import HarnessError

#: The mapping that lists every base architecture; the others, one a head, end like this too.
BASE = "MODEL_MAPPING_NAMES"

_CONFIGS = "CONFIG_MAPPING_NAMES"

_MODULES = "SPECIAL_MODEL_TYPE_TO_MODULE_NAME"

_HEAD = re.compile(r"MODEL_FOR_(\w+?)(?:_MAPPING)?_NAMES")


@dataclass(frozen=True)
class InstalledLibrary:
    """One version of transformers, read from its folder.

    Attributes:
        folder: the package's folder.
        version: as it says itself.
    """

    folder: Path
    version: str

    @cached_property
    def architectures(self) -> Mapping[str, str]:
        """Model type -> the name of its base model's class."""
        return self._mappings[BASE]

    @cached_property
    def configs(self) -> Mapping[str, str]:
        """Model type -> the name of its config class; more types than there are base models."""
        return self._mappings.get(_CONFIGS, {})

    @cached_property
    def heads(self) -> Mapping[str, frozenset[str]]:
        """Model type -> the heads that the auto classes know, as in `CAUSAL_LM`."""
        found: dict[str, set[str]] = {}
        for name, mapping in self._mappings.items():
            if head := _HEAD.fullmatch(name):
                for architecture in mapping:
                    found.setdefault(architecture, set()).add(head.group(1))
        return {architecture: frozenset(heads) for architecture, heads in found.items()}

    @cached_property
    def _mappings(self) -> dict[str, dict[str, str]]:
        mappings: dict[str, dict[str, str]] = {}
        auto = self.folder / "models" / "auto"
        for path in (
            auto / "auto_mappings.py",
            auto / "configuration_auto.py",
            auto / "modeling_auto.py",
        ):
            if path.is_file():
                _read_mappings(path, mappings)
        if not mappings.get(BASE):
            raise HarnessError(
                f"expected {BASE} in {auto / 'modeling_auto.py'}, found none. "
                "Fix: name the folder of a transformers package with --transformers DIR"
            )
        return mappings

    def class_text(self, architecture: str, kind: str, names: Mapping[str, str]) -> str:
        """The text of the architecture's class in its `modeling` or `configuration` file."""
        modules = self._mappings.get(_MODULES, {})
        module = modules.get(architecture, architecture.replace("-", "_"))
        path = self.folder / "models" / module / f"{kind}_{module}.py"
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        return _class_body(source, names.get(architecture, ""))


def installed(folder: Path | None = None) -> InstalledLibrary:
    """The transformers package in `folder`, or the one that this environment imports.

    Raises:
        HarnessError: there is none.
    """
    if folder is None:
        spec = importlib.util.find_spec("transformers")
        if spec is None or not spec.origin:
            raise HarnessError(
                "expected transformers in this environment, found none. "
                "Fix: `pip install transformers`, or name a copy with --transformers DIR"
            )
        return InstalledLibrary(Path(spec.origin).parent, metadata.version("transformers"))
    init = folder / "__init__.py"
    match = re.search(
        r"""^__version__ = ["']([^"']+)["']""",
        init.read_text(encoding="utf-8") if init.is_file() else "",
        re.MULTILINE,
    )
    if match is None:
        raise HarnessError(
            f"expected a transformers package in {folder}, found no __init__.py with a version. "
            "Fix: name the folder that holds it, as in --transformers "
            "venv/lib/python3.12/site-packages/transformers"
        )
    return InstalledLibrary(folder, match.group(1))


def _read_mappings(path: Path, mappings: dict[str, dict[str, str]]) -> None:
    """Adds every `..._NAMES` and module mapping of a file, by the name that it is assigned to.

    Mappings are written as `OrderedDict([("bert", "BertModel"), ...])`, as a plain dict, or as
    `NAME.update({...})`; whatever pairs of strings such a statement holds are taken.
    """
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target: ast.expr | None = None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        elif (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
            and node.value.func.attr == "update"
        ):
            target = node.value.func.value
        if isinstance(target, ast.Name) and (target.id.endswith("_NAMES") or target.id == _MODULES):
            mappings.setdefault(target.id, {}).update(_pairs(node))


def _pairs(node: ast.AST) -> dict[str, str]:
    """The pairs of a key and a class name below a node; of several class names, the first."""
    pairs: dict[str, str] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.List):
            for item in part.elts:
                if isinstance(item, ast.Tuple) and len(item.elts) == 2:
                    _add_pair(pairs, *item.elts)
        elif isinstance(part, ast.Dict):
            for key, value in zip(part.keys, part.values, strict=True):
                _add_pair(pairs, key, value)
    return pairs


def _add_pair(pairs: dict[str, str], key: ast.expr | None, value: ast.expr) -> None:
    if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
        return
    if isinstance(value, ast.Tuple | ast.List) and value.elts:
        value = value.elts[0]
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        pairs[key.value] = value.value


def _class_body(source: str, name: str) -> str:
    """The text of a top-level class; empty when the source has none of that name."""
    start = re.search(rf"^class {re.escape(name)}\b", source, re.MULTILINE) if name else None
    if start is None:
        return ""
    end = re.compile(r"^\S", re.MULTILINE).search(source, start.end())
    return source[start.start() : end.start() if end else len(source)]
