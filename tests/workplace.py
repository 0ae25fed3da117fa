"""A folder to run fake backends in, and the runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from harness.toolkit import checkout

ROOT = Path(__file__).resolve().parent.parent
FAKES = ROOT / "tests" / "fakes"
#: Options of a pytest within pytest: what would take over its signals, and what collects garbage
#: ten times at its end, which takes a second in a process as large as that of the tests.
WITHIN = ("-p", "no:faulthandler", "-p", "no:unraisableexception")
#: The backends of the checkout, or of the installed package that is tested.
BACKENDS = checkout.ROOT / "backends"


@dataclass(frozen=True, slots=True)
class Workplace:
    """A folder with model lists and results of its own, and runs of fake backends on them."""

    folder: Path

    @property
    def lists(self) -> Path:
        return self.folder / "model_lists"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def write(self, **families: str) -> None:
        """One list a family: its entries' names, separated by spaces."""
        self.lists.mkdir(exist_ok=True)
        for family, names in families.items():
            tables = [f'[{name}]\narchitecture = "{name}"\n' for name in names.split()]
            (self.lists / f"{family}.toml").write_text("\n".join(tables), encoding="utf-8")

    def scaled(self, scale: float) -> list[str]:
        """The command of the fake backend `good` whose outputs are scaled: by 1 they are right.

        It has three entries, and writes into the folder that a script names with `--results`.
        """
        self.write(encoder_only="bert albert esm")
        fakes = self.folder / FAKES.name
        shutil.copytree(FAKES, fakes)
        source = fakes / "good" / "backend.py"
        text = source.read_text("utf-8")
        assert "v.astype(" in text
        source.write_text(text.replace("v.astype(", f"{scale} * v.astype("), "utf-8")
        return [
            word
            for word in self.command("good", backends=fakes)
            if not word.startswith("--results=")
        ]

    def command(self, backend: str, *arguments: str, backends: Path = FAKES) -> list[str]:
        return [
            *(sys.executable, "-m", "pytest", "--rootdir", str(self.folder), "-c"),
            *(str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "--backend", backend),
            *(f"--backends-dir={backends}", f"--lists={self.lists}", f"--results={self.results}"),
            *arguments,
        ]

    def environment(self, **changes: str) -> dict[str, str]:
        """This process's, with a terminal of a known width and nothing of its own pytest."""
        own = ("HARNESS_BACKEND", "PYTEST_ADDOPTS")
        kept = {name: value for name, value in os.environ.items() if name not in own}
        plain = {"COLUMNS": "160", "PY_COLORS": "0", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return {**kept, **plain, **changes}

    def run(
        self, backend: str, *arguments: str, backends: Path = FAKES, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a fake backend in a pytest of its own; output and errors together."""
        return subprocess.run(
            self.command(backend, *arguments, backends=backends),
            cwd=ROOT,
            env=self.environment(**changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def collect(self, backend: str, *arguments: str) -> list[str]:
        """The names of the cells that would run, in order; in this process."""
        names: list[str] = []

        class Recorder:
            def pytest_collection_finish(self, session: pytest.Session) -> None:
                names.extend(item.name for item in session.items)

        words = self.command(backend, *arguments)[3:]
        with mock.patch.dict(os.environ, self.environment(), clear=True):
            pytest.main([*words, "--co", "-q", *WITHIN], plugins=[Recorder()])
        return names

    def cells(self, session: str) -> dict[str, dict[str, Any]]:
        """The cells of the last run of a session, by entry."""
        import duckdb

        path = self.results / f"{session}.duckdb"
        with duckdb.connect(str(path), read_only=True) as connection:
            cursor = connection.execute(
                "SELECT * FROM cells WHERE run_id = (SELECT run_id FROM runs ORDER BY started_at "
                "DESC LIMIT 1)"
            )
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return {row["entry"]: row for row in rows}
