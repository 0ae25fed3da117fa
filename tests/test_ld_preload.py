"""The C file before the C library: the same powers, bit by bit; none without a compiler."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workplace import BACKENDS

from harness.workers import ld_preload

POWERS = BACKENDS / "qnn" / "powers_of_two.c"

#: Whole powers of two to both ends of the numbers and beyond, and powers that are none; numbers
#: times powers of two, below the normal ones too.
TABLE = """
import math, random
def power(base, exponent):
    try:
        return math.pow(base, exponent).hex()
    except OverflowError:
        return "overflow"
draw = random.Random(0)
for exponent in range(-1100, 1100):
    print(power(2.0, exponent), power(2.0, exponent + 0.5), power(-2.0, exponent))
for _ in range(10_000):
    print(power(draw.uniform(0, 100), draw.uniform(-100, 100)))
specials = (math.inf, -math.inf, math.nan, 0.0, -0.0, 1e300)
for special in specials:
    print(power(2.0, special))
def scaled(value, exponent):
    try:
        return math.ldexp(value, exponent).hex()
    except OverflowError:
        return "overflow"
for exponent in range(-2200, 2200):
    print(scaled(draw.uniform(-4, 4), exponent), scaled(5e-324, exponent), scaled(1e308, exponent))
for special in specials:
    print(scaled(special, 3), scaled(special, -1100))
"""


def table(preloaded: str) -> str:
    """The powers that a Python process computes and prints."""
    variables = {**os.environ, ld_preload.VARIABLE: preloaded}
    run = subprocess.run(
        [sys.executable, "-c", TABLE], env=variables, capture_output=True, text=True, check=True
    )
    assert not run.stderr, "the loader refuses the library"
    return run.stdout


def defines(library: Path, name: str) -> bool:
    """Whether a function comes from the library itself, and not from what it depends on."""
    found = (getattr(loaded, name) for loaded in (ctypes.CDLL(str(library)), ctypes.CDLL(None)))
    first, second = (ctypes.cast(each, ctypes.c_void_p).value for each in found)
    return first != second


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs a C compiler on Linux"
)
def test_powers_are_the_same_to_the_bit(tmp_path: Path) -> None:
    built = ld_preload.compile_shim(POWERS, tmp_path)
    assert built is not None
    assert defines(built, "pow")
    assert defines(built, "ldexp")
    assert table(str(built)) == table("")


def test_without_a_compiler_there_is_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert ld_preload.compile_shim(POWERS, tmp_path) is None


def test_a_file_that_does_not_compile_is_no_library(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.c"
    wrong.write_text("double pow(", encoding="utf-8")
    assert ld_preload.compile_shim(wrong, tmp_path) is None
