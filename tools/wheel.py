"""Build hook of the wheel: `harness/` and `backends/` renamed to one package of the project's own.

In the checkout the packages are called `harness` and `backends`, names too common for a stranger's
site-packages. Hatchling gives the files their places in the wheel (pyproject.toml); this hook gives
it copies in which dotted names, paths of the two folders and `python -m harness` are those of the
wheel. Only names of modules and folders that are there are renamed.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: The import package of the wheel.
PACKAGE = "hf_hardware_matrix"

#: Folders of the checkout, and their packages in the wheel.
RENAMED = {"harness": PACKAGE, "backends": f"{PACKAGE}.backends"}

#: Files with names of modules in them.
TEXTS = {".html", ".ini", ".jinja", ".js", ".md", ".py", ".toml", ".txt"}


class Renaming:
    """Renaming of modules, by the folders of a checkout.

    Args:
        root: of the checkout.
    """

    def __init__(self, root: Path) -> None:
        patterns = []
        for folder in RENAMED:
            inside = {path.stem for path in (root / folder).iterdir() if path.name[0] != "."}
            names = "|".join(sorted(map(re.escape, inside)))
            # `harness.contract`, `harness/contract.py`
            patterns.append(rf"(?<![\w./-]){folder}(?=[./](?:{names})\b)")
            # `from backends import mock`, `python -m harness`
            patterns.append(rf"(?:(?<=from )|(?<=-m )){folder}(?= import\b|[ `]|$)")
        self._pattern = re.compile("|".join(patterns), re.MULTILINE)

    def __call__(self, text: str) -> str:
        """A file's text with the names of the wheel."""
        return self._pattern.sub(self._renamed, text)

    def _renamed(self, found: re.Match[str]) -> str:
        name = RENAMED[found[0]]
        is_path = found.string[found.end() : found.end() + 1] == "/"
        return name.replace(".", "/") if is_path else name


class WheelHook(BuildHookInterface[Any]):
    """Hatchling's build hook: renamed copies of the files that it has chosen."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the copies, and put them into the wheel in place of the originals.

        Args:
            version: `standard`, or `editable`.
            build_data: of hatchling; gets the copies.

        Raises:
            RuntimeError: an editable install was asked for.
        """
        if version == "editable":
            raise RuntimeError(
                "expected an ordinary install, found an editable one, whose files cannot be "
                "renamed. Fix: python -m pip install . ; a checkout runs as it is, without install"
            )
        root = Path(self.root)
        renaming = Renaming(root)
        self._copies = tempfile.TemporaryDirectory()
        chosen = [Path(file.path) for file in self.build_config.builder.recurse_included_files()]
        for number, path in enumerate(chosen):
            if path.suffix not in TEXTS:
                continue
            text = path.read_text(encoding="utf-8")
            renamed = renaming(text)
            if renamed != text:
                copy = Path(self._copies.name, f"{number}{path.suffix}")
                copy.write_text(renamed, encoding="utf-8", newline="\n")
                place = self.build_config.get_distribution_path(str(path.relative_to(root)))
                build_data["force_include"][str(copy)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copies."""
        self._copies.cleanup()
