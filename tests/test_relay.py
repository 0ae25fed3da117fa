"""The workflow for PyTorch's relay: its scripts, on an installed package and real nox sessions."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from installed import Installation, environment, installation
from vendor_package import write_vendor
from workplace import ROOT

pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("jq") and shutil.which("curl")),
    reason="the runner's shell has bash, jq and curl",
)

WORKFLOW = yaml.safe_load((ROOT / "examples" / "ci" / "pytorch-relay.yml").read_text("utf-8"))

#: A backend that one build of PyTorch breaks.
BACKEND = """
from importlib.metadata import PackageNotFoundError, version

from hf_hardware_matrix.backends.mock.backend import Backend as Mock
from hf_hardware_matrix.contract import Case, Device, Precision, Program


def built_with() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return "none"


class Backend(Mock):
    def probe(self) -> Device:
        return Device("ACME NPU", "npu", {"torch": built_with()}, emulated=True)

    def prepare(self, case: Case, precision: Precision) -> Program:
        if built_with().endswith("broken"):
            raise RuntimeError("undefined symbol: c10")
        return super().prepare(case, precision)
"""

#: PyTorch as far as a build sees it: it makes its own wheel, and asks for nothing.
BUILD = """
import zipfile

METADATA = "Metadata-Version: 2.1\\nName: torch\\nVersion: {version}\\n"
WHEEL = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "torch-{version}"
    with zipfile.ZipFile(f"{folder}/{name}-py3-none-any.whl", "w") as wheel:
        info = f"{name}.dist-info"
        wheel.writestr("torch/__init__.py", "")
        wheel.writestr(f"{info}/METADATA", METADATA)
        wheel.writestr(f"{info}/WHEEL", WHEEL)
        wheel.writestr(f"{info}/RECORD", "")
    return f"{name}-py3-none-any.whl"
"""

#: Stands for the reporter of PyTorch's test-infra: posts what it was given.
REPORTER = """
import json
import os
import urllib.request

NAMES = ("STATUS", "CONCLUSION", "CLIENT_PAYLOAD", "TEST_RESULTS", "ARTIFACT_URL", "JOB_NAME",
         "RUN_ID", "RUN_ATTEMPT", "SCHEMA_VERSION", "WORKFLOW_NAME", "WORKFLOW_URL")
body = json.dumps({name: os.environ.get(name) for name in NAMES}).encode()
token = {"Authorization": f"Bearer {os.environ['OIDC_TOKEN']}"}
urllib.request.urlopen(urllib.request.Request(os.environ["CALLBACK_URL"], body, token))
"""


@pytest.fixture(scope="module")
def nox(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An environment with nox and the wheel."""
    return installation(tmp_path_factory.mktemp("nox") / "venv", ["nox[uv]"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A vendor's repository on a runner."""
    made = write_vendor(tmp_path / "site", backend=BACKEND)
    folder = tmp_path / "repository"
    backend = folder / "backends" / "acme_npu"
    shutil.copytree(made, backend)
    (backend / "__init__.py").unlink()
    (backend / "requirements.in").write_text("# nothing\n")
    shutil.copy(ROOT / "backends" / "mock" / "requirements.txt", backend)
    (folder / "noxfile.py").write_text(
        "from hf_hardware_matrix.nox_sessions import add_sessions\n"
        'add_sessions("backends", lists="models.toml")\n'
    )
    (folder / "models.toml").write_text('[bert]\narchitecture = "bert"\nfamily = "encoder-only"\n')
    return folder


def write_pytorch(folder: Path, version: str) -> None:
    """A checkout of PyTorch at a change."""
    (folder / "pytorch").mkdir()
    (folder / "pytorch" / "build.py").write_text(BUILD.replace("{version}", version))
    (folder / "pytorch" / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "build"\nbackend-path = ["."]\n'
        f'[project]\nname = "torch"\nversion = "{version}"\n'
    )


def script(job: str, step: str) -> str:
    """The script of a step."""
    (found,) = (s for s in WORKFLOW["jobs"][job]["steps"] if s.get("name") == step)
    text: str = found["run"]
    return text


def run(script: str, folder: Path, **told: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub's runner does."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder, env={**environment(), **told}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    print(done.stdout)
    return done


def test_a_change_of_pytorch_is_held_against_the_pins(nox: Installation, checkout: Path) -> None:
    told = {
        "BACKEND": WORKFLOW["env"]["BACKEND"],
        "PATH": os.pathsep.join([str(nox.scripts), os.environ["PATH"]]),
    }
    assert run(script("baseline", "run with the pins"), checkout, **told).returncode == 0
    good, counts, summary = after_change(checkout, "2.99.0a0+git1234567", told)
    assert (good, counts) == (0, {"passed": 1, "failed": 0, "skipped": 0})
    assert "nothing changed" in summary
    bad, counts, summary = after_change(checkout, "2.99.0a0+broken", told)
    assert (bad, counts) == (1, {"passed": 0, "failed": 1, "skipped": 0})
    assert "undefined symbol: c10" in summary


def after_change(
    checkout: Path, version: str, told: Mapping[str, str]
) -> tuple[int, dict[str, int], str]:
    """Results of the job `matrix` on a build of PyTorch: exit status, counts, step summary."""
    for left in ("wheels", "pytorch"):
        shutil.rmtree(checkout / left, ignore_errors=True)
    for apart in (checkout / "results").glob("with-*"):
        shutil.rmtree(apart)
    write_pytorch(checkout, version)
    output, summary = checkout / f"output-{version}", checkout / f"summary-{version}.md"
    told = {**told, "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    assert run(script("matrix", "build PyTorch"), checkout, **told).returncode == 0
    done = run(script("matrix", "run"), checkout, **told)
    assert f"torch {version}" in done.stdout
    assert run(script("matrix", "count"), checkout, **told).returncode == 0
    counts = json.loads(output.read_text().removeprefix("tests="))
    return done.returncode, counts, summary.read_text("utf-8")


def test_a_baseline_that_did_not_come_to_its_end_is_none(nox: Installation, checkout: Path) -> None:
    programs = checkout / "bin"
    programs.mkdir()
    (programs / "nox").write_text("#!/bin/sh\nmkdir results\ntouch results/x.duckdb\nexit 1\n")
    (programs / "nox").chmod(0o755)
    path = os.pathsep.join([str(programs), str(nox.scripts), os.environ["PATH"]])
    done = run(script("baseline", "run with the pins"), checkout, BACKEND="x", PATH=path)
    assert done.returncode == 3
    assert "Nothing was run." in done.stdout


# ---- reports


class Relay(BaseHTTPRequestHandler):
    """GitHub's tokens, and the relay, which is busy the first time."""

    reports: list[dict[str, Any]]

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer ask-with-this"
        assert self.path == "/token?api=1&audience=pytorch-cross-repo-ci-relay"
        self.answer(200, b'{"value": "a-token"}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"] == "Bearer a-token"
        self.reports.append(json.loads(body))
        self.answer(429 if len(self.reports) == 1 else 200, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silence."""


@pytest.fixture
def relay() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a relay, and what is reported to it."""
    reports: list[dict[str, Any]] = []
    handler = type("OneRelay", (Relay,), {"reports": reports})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", reports
        server.shutdown()


PAYLOAD = json.dumps({"event_type": "pull_request", "delivery_id": "d", "payload": {"number": 7}})

#: The values that GitHub puts in the place of the workflow's expressions.
EXPRESSIONS: Mapping[str, str] = {
    "github.repository": "acme/acme-matrix",
    "github.run_attempt": "2",
    "github.run_id": "123",
    "github.server_url": "https://github.com",
    "github.workflow": "PyTorch",
    "needs.matrix.outputs.tests": '{"passed":1,"failed":2,"skipped":0}',
    "needs.matrix.result": "failure",
    "toJSON(github.event.client_payload)": PAYLOAD,
}


def filled(env: Mapping[str, str]) -> dict[str, str]:
    """Variables with their expressions evaluated."""
    return {
        name: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: EXPRESSIONS[found[1]], value)
        for name, value in env.items()
    }


@pytest.mark.parametrize("job", ["begin", "end"])
def test_the_relay_is_told(
    job: str, tmp_path: Path, relay: tuple[str, list[dict[str, Any]]]
) -> None:
    address, reports = relay
    reporter = tmp_path / ".github/actions/cross-repo-ci-relay-callback/report_callback.py"
    reporter.parent.mkdir(parents=True)
    reporter.write_text(REPORTER)
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    (tmp_path / "sleep").chmod(0o755)
    (step,) = (s for s in WORKFLOW["jobs"][job]["steps"] if s.get("name") == "report")
    told = {
        **filled(WORKFLOW["env"]),
        **filled(step["env"]),
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{address}/token?api=1",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "ask-with-this",
        "CALLBACK_URL": f"{address}/callback",
        "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
    }
    done = run(step["run"], tmp_path, **told)
    assert done.returncode == 0
    assert "::add-mask::a-token" in done.stdout
    assert len(reports) == 2  # the first was refused, and sent again
    report = reports[-1]
    assert (report["STATUS"], report["CONCLUSION"]) == (
        ("in_progress", None) if job == "begin" else ("completed", "failure")
    )
    assert json.loads(report["CLIENT_PAYLOAD"])["delivery_id"] == "d"
    assert (report["RUN_ID"], report["RUN_ATTEMPT"], report["JOB_NAME"]) == ("123", "2", "matrix")
    assert report["WORKFLOW_URL"] == "https://github.com/acme/acme-matrix/actions/runs/123"
    if job == "end":
        assert json.loads(report["TEST_RESULTS"]) == {"passed": 1, "failed": 2, "skipped": 0}


def test_no_job_with_a_token_runs_code_of_the_change() -> None:
    jobs = WORKFLOW["jobs"]
    trusted = {name for name, job in jobs.items() if "id-token" in job.get("permissions", {})}
    assert trusted == {"begin", "end"}
    for name in trusted:
        checkouts = [s["with"] for s in jobs[name]["steps"] if "checkout" in s.get("uses", "")]
        assert [taken["repository"] for taken in checkouts] == ["pytorch/test-infra"]
        assert re.fullmatch("[0-9a-f]{40}", checkouts[0]["ref"])
    (built,) = (
        s["with"]["ref"]
        for s in jobs["matrix"]["steps"]
        if s.get("with", {}).get("repository") == "pytorch/pytorch"
    )
    assert "pull_request.head.sha" in built
