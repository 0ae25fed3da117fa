"""`python -m harness`: finds its commands, and imports only the one that is asked for."""

from __future__ import annotations

import argparse
import subprocess
import sys
import types
from pathlib import Path

import pytest

from harness import __main__ as cli
from harness.contract import HarnessError

ROOT = Path(__file__).resolve().parent.parent


def test_every_command_has_its_module() -> None:
    for name, (module, about) in cli.COMMANDS.items():
        parser = argparse.ArgumentParser()
        imported = __import__(module, fromlist=["main"])
        imported.add_arguments(parser)
        assert callable(imported.main), name
        assert about


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_the_commands_are_listed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == (0 if words else 2)
    listed = capsys.readouterr().out
    assert all(name in listed for name in cli.COMMANDS)


def test_an_installed_package_leaves_this_projects_files_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(cli.COMMANDS) >= cli.OF_A_CHECKOUT
    monkeypatch.setattr(cli, "INSTALLED", True)
    assert cli.main(["record", "bert"]) == 2
    assert "expected a checkout for record" in capsys.readouterr().err
    assert cli.main(["--help"]) == 0
    shown = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line}
    assert shown >= set(cli.COMMANDS) - cli.OF_A_CHECKOUT
    assert not shown & cli.OF_A_CHECKOUT


def test_an_unknown_command_has_a_close_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lits"]) == 2
    assert "There is no command 'lits'. Did you mean list?" in capsys.readouterr().err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("a_command")
    module.add_arguments = lambda parser: parser.add_argument("--number", type=int)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_command", module)
    monkeypatch.setattr(cli, "COMMANDS", {"do": ("a_command", "does")})
    return module


def test_arguments_and_status_are_passed_on(command: types.ModuleType) -> None:
    command.main = lambda arguments: arguments.number  # type: ignore[attr-defined]
    assert cli.main(["do", "--number", "3"]) == 3


def test_bad_input_is_one_line(
    command: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(arguments: argparse.Namespace) -> int:
        raise HarnessError("expected a, found b. Fix: c")

    command.main = refuse  # type: ignore[attr-defined]
    assert cli.main(["do"]) == 2
    assert capsys.readouterr().err == "python -m harness do: expected a, found b. Fix: c\n"


def test_listing_is_light() -> None:
    code = (
        "import sys; from harness.__main__ import main; main(['list']); "
        "print(sorted({'duckdb', 'torch', 'transformers', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
