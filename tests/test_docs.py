"""Documents are true: commands run, links lead somewhere, TOML and Python blocks are read.

A command of the documents is run here, in a temporary folder and on the mock backend, or stands in
`test_docs.toml` with the reason why it is not. The latter's options are held against the parser
that reads them.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import documents
import duckdb
import pytest
from test_noxfile import bare_environment
from workplace import ROOT, WITHIN, Workplace

from harness import __main__ as command_line
from harness.catalog import backend_toml, model_lists
from harness.toolkit.public_name import PUBLIC

ADDING_A_BACKEND = ROOT / "docs" / "adding-a-backend.md"
ADDING_A_MODEL = ROOT / "docs" / "adding-a-model.md"

#: Every command of the documents, and the first document that has it.
COMMANDS = {
    command: documents.relative(document)
    for document in reversed(documents.documents())
    for command in documents.commands(document)
}

#: Commands that this test does not run -> the reason.
LISTED: dict[str, str] = {
    shlex.join(shlex.split(command)): row["reason"]
    for row in tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))["listed"]
    for command in row["commands"]
}

#: Sessions of the noxfile beside the backends' -> the module whose parser reads what follows `--`.
PROJECT_SESSIONS = {
    "lint": "",  # ruff
    "tests": "pytest",
    "report": "harness report",
    "coverage": "harness coverage",
    "measure": "",  # the name of a backend, then what its session takes
    "cluster": "",  # a command of dask
    "lock": "",  # names of backends, and options of uv
}

#: Commands of `python -m harness` that write nothing, without `--write`.
READ_ONLY = {
    "advise",
    "devices",
    "diff",
    "discover",
    "dockerfile",
    "expectations",
    "list",
    "operators",
    "show",
    "size",
}

#: Programs with parsers of their own, whose commands all stand in the list.
OTHER_PROGRAMS = {"pip", "docker", ".ci/run", "towncrier", "perf"}


def block_after(document: Path, heading: str, language: str) -> str:
    """The first code block of a language behind a heading."""
    text = document.read_text("utf-8")
    assert heading in text, f"{document.name} has no heading {heading!r}"
    blocks = [block for block in documents.code_blocks(document) if block.language == language]
    position = text.index(heading)
    # An indented text is no fence of its own: a fence's content stands in the document as it is.
    return next(block.text for block in blocks if text.find(block.text) > position)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the two guides have been followed: lists and backends, nothing else."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "model_lists", folder / "model_lists")
    (folder / "backends").mkdir()
    weights = folder / "models" / "google-bert" / "bert-base-uncased"
    weights.mkdir(parents=True)
    (weights / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    for path in (ROOT / "backends").iterdir():
        if path.is_dir() and path.name != "small_cpu":  # who follows the guide has that too
            (folder / "backends" / path.name).symlink_to(path)

    made = folder / "backends" / "small_cpu"
    made.mkdir()
    for name, heading, language in (
        ("backend.toml", "## 1. ", "toml"),
        ("backend.py", "## 2. ", "python"),
        ("requirements.in", "## 3. ", "text"),
        ("expectations.toml", "## 4. ", "toml"),
        ("README.md", "## 4. ", "markdown"),
    ):
        (made / name).write_text(block_after(ADDING_A_BACKEND, heading, language), "utf-8")

    path = folder / "model_lists" / "encoder_only.toml"
    entry = block_after(ADDING_A_MODEL, "## 2. ", "toml")
    text = path.read_text("utf-8")
    if "\n[mdeberta_v3_base]\n" not in text:
        path.write_text(text.replace("\n[mega]\n", f"\n{entry}\n[mega]\n"), "utf-8")
    own = block_after(ADDING_A_MODEL, "## A list of your own", "toml")
    (folder / "ours.toml").write_text(own, "utf-8")
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two runs of one cell of the mock backend, under the name of every session."""
    folder = tmp_path_factory.mktemp("results")
    for _ in range(2):
        done = run_mock(["--models", "bert", "--heads", "base"], folder)
        assert done.returncode == 0, done.stdout
    stored = Workplace(folder).results
    for document in documents.documents():
        for command in documents.commands(document):
            program, *words = shlex.split(command)
            if program == "duckdb" and words[0] != "results/mock.duckdb":
                shutil.copy(stored / "mock.duckdb", stored / Path(words[0]).name)
    return stored


def run_mock(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`nox -s mock -- WORDS` in this Python, with results in a folder."""
    lists = f"--lists={ROOT / 'model_lists'}"
    return Workplace(folder).run("mock", lists, *words, backends=ROOT / "backends")


# ---- every command


def test_the_list_holds_commands_of_the_documents_only() -> None:
    gone = sorted(set(LISTED) - set(COMMANDS))
    assert not gone, f"no document has these any more. Fix: delete them in test_docs.toml: {gone}"


def test_a_row_of_the_list_has_a_reason() -> None:
    assert all(reason.strip() for reason in LISTED.values())


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_is_one_that_its_parser_takes(
    command: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(checkout)
    check(command, checkout, capsys)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(LISTED)))
def test_a_command_runs(
    command: str,
    checkout: Path,
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = with_examples(command)
    if words[0] == "duckdb":
        with duckdb.connect(str(results / Path(words[1]).name), read_only=True) as connection:
            found = connection.execute(words[2])
            # Only a session with such faults has these rows.
            tables = ("metrics", "further_failures", "culprits")
            rare = any(f"FROM {table}" in words[2] for table in tables)
            assert found.fetchall() or rare
    elif words[2:] == [PUBLIC, "--version"]:
        assert command_line.main(words[3:]) == 0
        assert re.search(r" \d+\.\d+\.\d+$", capsys.readouterr().out.strip())
    elif words[:3] == ["nox", "-s", "mock"] or words[:2] == ["HARNESS_BACKEND=mock", "python"]:
        posargs = words[4:]
        done = run_mock(posargs, tmp_path)
        broken = "--fault" in posargs
        assert done.returncode == (1 if broken else 0), done.stdout
    elif words == ["nox", "-l"]:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, env=bare_environment(), check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        assert "* mock" in done.stdout
    elif words[1:] == ["-m", "pytest", "--help"]:
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=ROOT, env=bare_environment(), check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        assert "--update-expectations" in done.stdout
    elif reads_only(words):
        module, arguments = parsed(words[3:], checkout, results)
        assert module.main(arguments) == 0
        assert capsys.readouterr().out.strip()
    elif words[1:] == ["-m", "harness"]:
        assert command_line.main([]) == 2
        assert "usage: python -m harness" in capsys.readouterr().out
    else:
        pytest.fail(
            f"{COMMANDS[command]} has a command that no test runs: `{command}`. Fix: run it here, "
            "or list it in tests/test_docs.toml with the reason"
        )


def reads_only(words: list[str]) -> bool:
    """Whether a command is one of the harness that writes nothing."""
    ours = words[1:2] == ["-m"] and words[2] in {"harness", PUBLIC}
    return ours and bool(READ_ONLY & set(words[3:])) and "--write" not in words


def with_examples(command: str) -> list[str]:
    """The words of a command, with examples for its placeholders."""
    return [documents.PLACEHOLDERS.get(word, word) for word in shlex.split(command)]


def check(command: str, checkout: Path, capsys: Any) -> None:
    """Hold a command against the parser that reads it: names of sessions and options, paths."""
    words = with_examples(command)
    program = words[0]
    if "=" in program:  # a variable of the environment
        variable, backend = program.split("=")
        assert variable == "HARNESS_BACKEND"
        assert words[1:4] == ["python", "-m", "pytest"]
        collect(backend, words[4:], checkout)
        return
    if program == "nox":
        check_nox(words[1:], checkout, capsys)
        return
    if program.startswith(".nox/"):
        session = Path(program).parts[1]
        assert session in sessions(), f"{program}: no session has this environment"
    if Path(program).name != "python":
        names = {program, Path(program).name}
        assert names & (OTHER_PROGRAMS | {"duckdb"}), f"{program}: expected a program known here"
    elif words[1] == "-m":
        check_module(words[2], words[3:], checkout, capsys)
    else:
        assert words[1] == "-c"
        ast.parse(words[2])


def sessions() -> dict[str, str]:
    """Every session of the noxfile, by name, and which module reads what follows `--`."""
    folders = (path.parent.name for path in (ROOT / "backends").glob("*/backend.toml"))
    backends = {name.replace("_", "-"): "backend" for name in folders}
    return {**backends, **PROJECT_SESSIONS, "small-cpu": "backend"}


def check_nox(words: list[str], checkout: Path, capsys: Any) -> None:
    own, _, posargs = shlex.join(words).partition(" -- ")
    if own in {"", "-l"}:
        return
    option, session = own.split()
    assert option == "-s"
    assert session in sessions(), f"expected a session, found {session}"
    reader, _, name = sessions()[session].partition(" ")
    if reader == "backend":
        collect(session, shlex.split(posargs), checkout)
    elif reader:
        check_module(reader, [*name.split(), *shlex.split(posargs)], checkout, capsys)
    elif session == "measure":
        backend, *options = shlex.split(posargs)
        collect(backend, ["--measure", *options], checkout)
    elif session == "lock":
        assert set(posargs.split()) <= set(sessions())


def check_module(module: str, words: list[str], checkout: Path, capsys: Any) -> None:
    """Hold `python -m MODULE WORDS` against the module's parser."""
    if module in {"harness", PUBLIC}:
        if words and words != ["--version"]:
            parsed(words, checkout, checkout)
        if words[:1] == ["run"]:
            collect(words[1], words[2:], checkout)
    elif module == "pytest" and "--backend" in words:
        given = [word for word in words if not word.startswith(("-p", PUBLIC))]
        collect(words[words.index("--backend") + 1], given, checkout)
    elif module == "pytest":
        paths = [word for word in words if not word.startswith("-")]
        assert all((ROOT / path).is_file() for path in paths), paths
        own = {"--help", "--installed", "--cov"}  # the session's
        options = [word for word in words if word not in {*paths, *own}]
        # Of no test at all: with an option that pytest does not know, the status is another one.
        empty = ["--co", "-q", "--ignore-glob=*", f"--rootdir={ROOT}", "-c", "pyproject.toml"]
        status = quiet_pytest([*empty, *options], cwd=ROOT)
        assert status == pytest.ExitCode.NO_TESTS_COLLECTED, options
    else:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
        main = importlib.import_module(module).main
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [module, "--help"])
            with pytest.raises(SystemExit):
                main()
        helped = capsys.readouterr().out
        assert all(word in helped for word in words if word.startswith("--")), helped


def parsed(words: list[str], checkout: Path, results: Path) -> tuple[Any, Namespace]:
    """The module of `python -m harness WORDS`, and its arguments with folders of a test."""
    module = importlib.import_module(command_line.COMMANDS[words[0]][0])
    parser = ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    arguments = parser.parse_args(words[1:])
    for name, folder in (("root", checkout), ("results", results)):
        if hasattr(arguments, name):
            setattr(arguments, name, folder)
    return module, arguments


def with_own_folders(word: str, own: dict[str, str]) -> str:
    """A word of a command with folders of the test in the place of the reader's own."""
    for theirs, ours in own.items():
        word = word.replace(theirs, ours)
    return word


def collect(backend: str, words: list[str], checkout: Path) -> None:
    """Collect the cells of a backend's session, which opens no SDK: at least one is there."""
    own = {"~/models": str(checkout / "models"), "../my-repository": str(checkout)}
    own["$CI_NODE_INDEX/$CI_NODE_TOTAL"] = "1/4"
    (checkout / "durations.toml").touch()
    given = [with_own_folders(word, own) for word in words]
    if "--precision" in given:
        named = given.index("--precision") + 1
        # To know all of them, the device is asked.
        given[named] = given[named].replace("all", "default")
    if "--changed-since" in given:
        given[given.index("--changed-since") + 1] = a_commit(checkout)
    folders = [f"--lists={checkout / 'model_lists'}", f"--results={checkout / 'results'}"]
    if not any(word.startswith("--backends-dir") for word in words):
        folders.append(f"--backends-dir={checkout / 'backends'}")
    chosen = [] if "--backend" in words else ["--backend", backend]
    ini = ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={checkout}", "-p", "no:cacheprovider"]
    status = quiet_pytest([*ini, "--co", "-q", *chosen, *folders, *given], cwd=checkout)
    assert status == pytest.ExitCode.OK, f"{backend}: pytest refuses {shlex.join(words)}"


def a_commit(folder: Path) -> str:
    """A commit of a folder, which is made a repository where it is none."""
    person = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "empty"]):
        subprocess.run(["git", *person, *words], cwd=folder, check=True)
    return "HEAD"


def quiet_pytest(words: list[str], cwd: Path) -> int:
    """The exit status of a pytest run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.delenv("HARNESS_BACKEND", raising=False)
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return int(pytest.main([*words, *WITHIN]))


# ---- the two guides


def test_the_new_model_is_listed_as_its_guide_shows(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, arguments = parsed(["list", "mdeberta_v3_base"], checkout, checkout)
    assert module.main(arguments) == 0
    shown = [block.text for block in documents.code_blocks(ADDING_A_MODEL)]
    assert capsys.readouterr().out in shown


def test_the_new_backend_passes(checkout: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    place = Workplace(tmp_path)
    words = ["--models", "bert", "--precision", "all", f"--lists={ROOT / 'model_lists'}"]
    done = place.run("small-cpu", *words, backends=checkout / "backends")
    assert "2 of 2 cells passed" in done.stdout, done.stdout


# ---- links and blocks


@pytest.mark.parametrize("document", documents.documents(), ids=documents.relative)
def test_links_lead_somewhere(document: Path) -> None:
    for link in documents.links(document):
        path, _, anchor = link.target.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document}: {link.target} is nowhere"
        assert target == ROOT or ROOT in target.parents, f"{document}: {link.target} leads outside"
        if anchor:
            assert anchor in documents.anchors(target), f"{document}: no heading for {link.target}"


@pytest.mark.parametrize("document", documents.documents(), ids=documents.relative)
def test_paths_of_the_repository_exist(document: Path, checkout: Path) -> None:
    for path in documents.paths(document):
        there = [*ROOT.glob(path), *checkout.glob(path)]
        assert there, f"{document}: {path} is nowhere"


def blocks(language: str) -> list[Any]:
    """The blocks of a language, as parameters of a test."""
    return [
        pytest.param(block, id=f"{documents.relative(block.document)}-{number}")
        for document in documents.documents()
        for number, block in enumerate(documents.code_blocks(document))
        if block.language == language
    ]


@pytest.mark.parametrize("block", blocks("toml"))
def test_a_toml_block_passes_its_reader(block: documents.Code, tmp_path: Path) -> None:
    table = tomllib.loads(block.text)
    if "title" in table:
        folder = tmp_path / "some_backend"
        folder.mkdir()
        (folder / "backend.toml").write_text(block.text, "utf-8")
        assert backend_toml.read(folder).title == table["title"]
    elif table:
        (tmp_path / "model_lists").mkdir()
        (tmp_path / "model_lists" / "decoder_only.toml").write_text(block.text, "utf-8")
        assert set(model_lists.load(tmp_path).entries) == set(table)


@pytest.mark.parametrize("block", blocks("python"))
def test_a_python_block_is_python(block: documents.Code) -> None:
    # Rows of a table stand without it.
    ast.parse("{" + block.text + "}" if block.text.startswith("    ") else block.text)


@pytest.mark.parametrize("document", documents.documents(), ids=documents.relative)
def test_a_fence_says_its_language(document: Path) -> None:
    known = {None, "markdown", "mermaid", "python", "text", "toml", "yaml"}
    assert {block.language for block in documents.code_blocks(document)} <= known
