"""Commands in messages are those that a person can type where the process runs."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from workplace import FAKES

from harness.catalog import backends
from harness.catalog.chosen_lists import chosen
from harness.contract import CellResult
from harness.session import rerun_command
from harness.session.options import Options
from harness.session.run import Run
from harness.toolkit import typed_commands


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were installed, in an environment whose Python is on PATH."""
    monkeypatch.setattr(typed_commands, "INSTALLED", True)
    monkeypatch.setattr(rerun_command, "INSTALLED", True)
    monkeypatch.setattr(typed_commands, "OWN", "hf_hardware_matrix")
    monkeypatch.delenv(typed_commands.STARTED_BY_NOX, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)


def test_a_checkout_has_sessions() -> None:
    assert typed_commands.session("mock") == "nox -s mock"
    assert typed_commands.session("mock", ["-k", "a b"]) == "nox -s mock -- -k 'a b'"
    assert typed_commands.report() == "nox -s report"


@pytest.mark.usefixtures("installed")
def test_a_package_without_nox_has_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert typed_commands.session("mock", ["-k", "a b"]) == (
        "python -m hf_hardware_matrix run mock -k 'a b'"
    )
    assert typed_commands.report() == "python -m hf_hardware_matrix report"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my env" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert typed_commands.report() == "'my env/bin/python' -m hf_hardware_matrix report"


@pytest.mark.usefixtures("installed")
def test_a_package_under_nox_has_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(typed_commands.STARTED_BY_NOX, "1")
    assert typed_commands.session("mock") == "nox -s mock"
    assert typed_commands.report() == "nox -s report"
    assert backends.find("mock").install.startswith("`nox -s mock`, or ")


@pytest.mark.usefixtures("installed")
def test_a_cell_is_run_again_from_where_the_user_is(
    tmp_path: Path, make_result: Callable[..., CellResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = tmp_path / "my lists.toml"
    lists.write_text('[bert]\narchitecture = "bert"\nfamily = "encoder-only"\n', encoding="utf-8")
    run = Run(Options("good", backends=FAKES, lists=chosen(str(lists))))
    line = run.rerun(make_result("bert"))
    elsewhere = Run(Options("good", backends=FAKES, results=tmp_path / "other results"))
    assert f"--results={tmp_path / 'other results'}" in shlex.split(
        elsewhere.rerun(make_result("bert"))
    )
    assert shlex.split(line) == [
        *("python", "-m", "hf_hardware_matrix", "run", "good", "--models", "bert"),
        *(f"--backends-dir={FAKES}", f"--lists={lists}"),
    ]
    monkeypatch.setenv(typed_commands.STARTED_BY_NOX, "1")
    assert run.rerun(make_result("bert")).startswith("nox -s good -- --models bert --backends-dir=")
