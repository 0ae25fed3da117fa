"""Any accelerator of PyTorch, by the fake one of `tests/fakes/fake_accelerator.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backends.torch_device import backend
from harness.contract import HarnessError, Unavailable

TESTS = Path(__file__).resolve().parent

#: A linear layer on the fake accelerator, through the backend; prints device and placement.
RUN = """
import numpy as np, torch
from backends.torch_device.backend import Backend
from harness.contract import Precision

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
    def forward(self, x):
        out = self.linear(x)
        return {"out": LEAVES}

class Case:
    seeded = False
    def module(self): return Model()
    def options(self): return {}
    def outputs(self, raw): return {"out": raw["out"].cpu().numpy()}

backend = Backend({"import": "fakes.fake_accelerator", "device": DEVICE})
device = backend.probe()
program = backend.prepare(Case(), Precision("default", "float32"))
inputs = {"x": np.ones((2, 4), np.float32)}
found = program(inputs)["out"]
with torch.no_grad():
    right = np.allclose(found, (program.module.linear(torch.ones(2, 4).to("fakeacc"))).cpu())
placed = program.placement()
print(device.name, device.versions["fakes.fake_accelerator"], right, placed.device_share)
print(sorted(placed.fallback_ops), backend.memory)
"""


def run(leaves: str = "out", device: str = "") -> subprocess.CompletedProcess[str]:
    """Run the layer in a process of its own: an accelerator is registered once and for all."""
    code = RUN.replace("LEAVES", leaves).replace("DEVICE", repr(device))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=TESTS.parent, env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("device", ["", "fakeacc", "fakeacc:0"])
def test_a_registered_accelerator_computes(device: str) -> None:
    done = run(device=device)
    assert done.stdout.splitlines()[-2:] == ["fakeacc 1.0 True 1.0", "[] None"], done.stderr


def test_work_on_the_host_is_found() -> None:
    done = run("(out.cpu() * 2 / 2).to('fakeacc')")
    first, second = done.stdout.splitlines()[-2:]
    assert first.startswith("fakeacc 1.0 True 0.")
    assert second == "['aten.div.Tensor (cpu)', 'aten.mul.Tensor (cpu)'] None"


def test_a_number_that_is_not_there() -> None:
    done = run(device="fakeacc:7")
    assert "expected fakeacc:7, found 1 devices of that kind" in done.stderr


def test_no_accelerator_says_how_to_name_one() -> None:
    with pytest.raises(Unavailable, match=r"found no devices .* by --device \(xpu"):
        backend.Backend({}).probe()
    with pytest.raises(Unavailable, match="expected hpu, found no devices"):
        backend.Backend({"device": "hpu"}).probe()


@pytest.mark.parametrize("name", ["cpu", "meta", "no-such"])
def test_a_device_that_is_no_accelerator(name: str) -> None:
    with pytest.raises(HarnessError, match=f"--device to name an accelerator.*found {name}"):
        backend.Backend({"device": name})


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(HarnessError, match=r"--import to name a module .* found no_such: .* Fix:"):
        backend.Backend({"import": "no_such"})
