"""The wheel: one package of our own name in it, and a stranger's environment that it works in."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import uv
from installed import Installation, installation, wheel
from vendor_package import write_vendor

from harness.environments import locks

ROOT = Path(__file__).resolve().parent.parent

#: Folders of the checkout, which no file of the wheel may import.
OURS = {"harness", "backends", "tests", "tools", "benchmarks"}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The files of the wheel, by name."""
    with zipfile.ZipFile(wheel()) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        return {name: archive.read(name) for name in names}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An environment with nothing but the wheel, at the pins of the mock backend."""
    return installation(tmp_path_factory.mktemp("stranger") / "venv")


def test_the_wheel_is_small() -> None:
    assert wheel().stat().st_size < 3_000_000


def test_the_wheel_has_one_package_of_our_name(files: dict[str, bytes]) -> None:
    top = {name.split("/")[0] for name in files}
    assert {name for name in top if not name.endswith(".dist-info")} == {"hf_hardware_matrix"}
    assert len(top) == 2


def test_the_wheel_has_all_that_is_tracked_of_its_folders(files: dict[str, bytes]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "harness", "backends", "model_lists"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("no git, or no repository")
    tracked = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    wanted = {f"hf_hardware_matrix/{name.removeprefix('harness/')}" for name in tracked}
    assert wanted - files.keys() == set()


def imported(source: bytes) -> set[str]:
    """The packages that a module imports by name, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def test_no_module_of_the_wheel_imports_the_checkout(files: dict[str, bytes]) -> None:
    modules = {name: source for name, source in files.items() if name.endswith(".py")}
    wrong = {name: imported(source) & OURS for name, source in modules.items()}
    assert {name: found for name, found in wrong.items() if found} == {}
    assert "hf_hardware_matrix" in imported(files["hf_hardware_matrix/plugin.py"])


def test_no_text_of_the_wheel_names_modules_of_the_checkout(files: dict[str, bytes]) -> None:
    modules = {path.stem for path in (ROOT / "harness").iterdir()}
    folders = {path.stem for path in (ROOT / "backends").iterdir()}
    name = re.compile(
        rf"(?<![\w./-])(?:harness\.(?:{'|'.join(modules)})|backends\.(?:{'|'.join(folders)}))\b"
        r"|-m harness\b"
    )
    texts = {
        path: data.decode(errors="replace")
        for path, data in files.items()
        if not path.endswith("METADATA")  # the README, which is the checkout's
    }
    assert {path: found[0] for path, text in texts.items() if (found := name.search(text))} == {}


def test_pytest_is_told_of_no_plugin(files: dict[str, bytes]) -> None:
    (entry_points,) = (
        data for name, data in files.items() if name.endswith("dist-info/entry_points.txt")
    )
    assert b"console_scripts" in entry_points
    assert b"pytest11" not in entry_points


def test_the_package_asks_for_what_every_session_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dependencies"] == project["dependency-groups"]["harness"]


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "backends").glob("*/requirements.txt")),
    ids=lambda path: path.parent.name,
)
def test_the_pins_have_all_that_the_package_asks_for(path: Path) -> None:
    """An environment of the installed package has no version that nobody has pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {re.split(r"[<>=]", line)[0] for line in project["project"]["dependencies"]}
    assert wanted <= locks.pins(path.read_text(encoding="utf-8")).keys()


def test_renaming_leaves_other_names_alone() -> None:
    sys.path.insert(0, str(ROOT))
    from tools.wheel import Renaming

    renamed = Renaming(ROOT)
    assert renamed("from harness.contract import Case") == (
        "from hf_hardware_matrix.contract import Case"
    )
    assert renamed("from backends._shared import x") == (
        "from hf_hardware_matrix.backends._shared import x"
    )
    assert renamed("`python -m harness list`") == "`python -m hf_hardware_matrix list`"
    assert renamed('"harness/inputs/recipe.toml"') == '"hf_hardware_matrix/inputs/recipe.toml"'
    for kept in (
        "from x import backends, model_lists",
        "spec = backends.find(name)",
        "the harness. Contract",
        "my.harness.contract",
        "from a harness of theirs",
        'getgroup("harness")',
        ".harness-cache",
    ):
        assert renamed(kept) == kept


def test_a_checkout_answers_to_the_public_name() -> None:
    program = (
        "import harness.contract\n"
        "from hf_hardware_matrix import contract\n"
        "from hf_hardware_matrix.contract import Device\n"
        "from hf_hardware_matrix.backends._shared import cache_key as shared\n"
        "import hf_hardware_matrix.toolkit.dtype_cast\n"
        "import backends._shared.cache_key\n"
        "assert contract is harness.contract and Device is harness.contract.Device\n"
        "assert shared is backends._shared.cache_key\n"
        "assert contract.__spec__.name == contract.__name__ == 'harness.contract'\n"
        "assert not hasattr(contract, '__path__')\n"
        "try:\n"
        "    import hf_hardware_matrix.no_such\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("No module named 'hf_hardware_matrix.no_such'\n", "")


def test_commands_run_in_an_empty_folder(stranger: Installation, tmp_path: Path) -> None:
    shown = stranger.harness("--version", folder=tmp_path)
    assert re.fullmatch(r"hf-hardware-matrix \d+\.\d+\.\d+\n", shown.stdout)
    script = subprocess.run(
        [stranger.scripts / "hf-hardware-matrix", "list"], cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert "bert " in script.stdout
    assert script.stdout == stranger.harness("list", folder=tmp_path).stdout


def test_a_session_runs_in_a_strangers_folder(stranger: Installation, tmp_path: Path) -> None:
    """Modules and settings of the folder, called as ours are, change nothing."""
    for name in ("harness", "backends", "report"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a stranger')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    cache = str(tmp_path / "cache")
    words = ["run", "mock", "--models", "bert,t5", "--heads", "base"]
    done = stranger.harness(*words, folder=tmp_path, XDG_CACHE_HOME=cache)
    assert "2 passed" in done.stdout, done.stdout
    assert "results: results/mock.duckdb" in done.stdout
    assert (tmp_path / "results" / "mock.duckdb").is_file()
    page = stranger.harness("report", folder=tmp_path)
    assert "2 of 2 judged cells pass" in page.stdout


def test_a_vendors_backend_runs_by_its_entry_point(stranger: Installation, tmp_path: Path) -> None:
    write_vendor(tmp_path / "site", toml='contract = 1\nfaults = ["nan"]')
    place = tmp_path / "place"
    place.mkdir()
    site = {"PYTHONPATH": str(tmp_path / "site")}
    done = stranger.harness("run", "acme-npu", "--models", "bert", folder=place, **site)
    assert "device: ACME NPU" in done.stdout, done.stdout
    assert "2 passed" in done.stdout
    assert (place / "results" / "acme-npu.duckdb").is_file()

    faulty = ["run", "acme-npu", "--models", "bert", "--heads", "base", "--fault", "nan=bert"]
    red = stranger.harness(*faulty, folder=place, **site)
    (line,) = [line for line in red.stdout.splitlines() if "rerun:" in line]
    words = shlex.split(line.partition("rerun:")[2])
    assert Path(words[0]).name.startswith("python")
    again = stranger.run(*words[1:], folder=place, **site)
    assert "1 failed" in again.stdout, again.stdout


def test_a_change_in_a_strangers_repository_runs_the_cells_it_touches(
    stranger: Installation, tmp_path: Path
) -> None:
    """git tells of the vendor's own files; the installed package is known by its version."""
    place = tmp_path / "place"
    shutil.copytree(write_vendor(tmp_path / "site"), place / "backends" / "acme_npu")
    rows = '[{0}]\narchitecture = "{0}"\nfamily = "encoder-only"\n'
    lists = place / "models.toml"
    lists.write_text("".join(map(rows.format, ("bert", "albert"))), encoding="utf-8")
    (place / ".gitignore").write_text("results/\n__pycache__/\n", encoding="utf-8")

    def git(*words: str) -> None:
        person = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        subprocess.run(["git", *person, *words], cwd=place, check=True, capture_output=True)

    def run() -> str:
        options = ("--backends-dir=backends", "--lists=models.toml", "--changed-since", "main")
        words = ("run", "acme-npu", *options)
        return stranger.harness(*words, folder=place, XDG_CACHE_HOME=str(tmp_path / "cache")).stdout

    git("init", "-q", "-b", "main")
    git("add", "--all")
    git("commit", "-q", "-m", "first")
    assert "2 passed" in run()
    git("switch", "-q", "-c", "branch")
    (place / "notes.md").write_text("# Notes\n", encoding="utf-8")
    assert "2 skipped" in run()
    lists.write_text(lists.read_text("utf-8") + 'priority = "high"\n', encoding="utf-8")
    assert "1 passed, 1 skipped" in run()
    source = place / "backends" / "acme_npu" / "backend.py"
    source.write_text(source.read_text("utf-8") + "\n# another\n", encoding="utf-8")
    assert "2 passed" in run()


#: A backend that a release of packaging breaks.
BROKEN_BY_PACKAGING = """
from importlib.metadata import version

from hf_hardware_matrix.backends.mock.backend import Backend as Mock


class Backend(Mock):
    def prepare(self, case, precision):
        if version("packaging") >= "26.1":
            raise RuntimeError("Version has no attribute x")
        return super().prepare(case, precision)
"""


def test_a_bisection_in_a_strangers_folder(stranger: Installation, tmp_path: Path) -> None:
    """Environments of other versions have the installed package; lists are a stranger's too."""
    made = write_vendor(tmp_path / "site", backend=BROKEN_BY_PACKAGING)
    backend = tmp_path / "place" / "backends" / "acme_npu"
    shutil.copytree(made, backend)
    (backend / "__init__.py").unlink()
    pins = ROOT / "backends" / "mock" / "requirements.txt"
    shutil.copy(pins, backend)
    (backend / "requirements.in").write_text("packaging\n")
    own = '[bert]\narchitecture = "bert"\nfamily = "encoder-only"\n'
    (tmp_path / "place" / "models.toml").write_text(own)
    uv_folder = Path(uv.find_uv_bin()).parent
    done = stranger.harness(
        *("bisect", "bert", "--backend", "acme-npu", "--package", "packaging"),
        *("--good", "26.0", "--bad", "26.2", "--attempts", "1"),
        *("--lists", "models.toml", "--backends-dir", "backends"),
        folder=tmp_path / "place",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        UV_CACHE_DIR=os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")),
        PATH=os.pathsep.join([str(uv_folder), os.environ["PATH"]]),
    )
    assert done.returncode == 0, done.stdout
    assert "packaging 26.1 is the first bad version, 26.0 the last good" in done.stdout
    assert "Version has no attribute x" in done.stdout


def test_a_strangers_pytest_is_left_alone(stranger: Installation, tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own() -> None:\n    pass\n")
    done = stranger.run("-m", "pytest", folder=tmp_path, HARNESS_BACKEND="mock")
    assert "1 passed" in done.stdout
    assert "hardware" not in done.stdout
    plugin = ["-p", "hf_hardware_matrix.plugin", "--backend", "mock", "--models", "bert"]
    chosen = stranger.run("-m", "pytest", *plugin, folder=tmp_path)
    assert "2 passed" in chosen.stdout, chosen.stdout
