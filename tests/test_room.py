"""Room for models of published sizes: figures before anything is allocated."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.contract import TooLarge
from harness.models import room
from harness.models.room import Room

GB = 1_000_000_000


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 20 GB free."""
    free = SimpleNamespace(available=20 * GB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)


@pytest.mark.parametrize(
    ("weights", "activations", "limit_mb", "dtype"),
    [
        (4 * GB, 1 * GB, 0, "float64"),
        (8 * GB, 0, 0, "float32"),
        (1 * GB, 0, 4_000, "float64"),
        (1 * GB, 1 * GB, 4_000, "float32"),
    ],
)
def test_the_reference_is_float64_where_there_is_memory_for_it(
    weights: int, activations: int, limit_mb: int, dtype: str
) -> None:
    assert room.reference_dtype(Room(weights, activations), limit_mb) == dtype


def test_a_model_that_fits_this_machine_says_with_which_limit() -> None:
    needs = Room(4 * GB, 1 * GB)
    with pytest.raises(TooLarge, match=r"expected 9.3 GB of memory.*4.0 GB by --memory") as caught:
        room.reference_dtype(needs, 4_000)
    assert "Fix: --memory 9301, or --size tiny" in str(caught.value)


def test_a_model_beyond_the_machine_asks_for_another_one() -> None:
    with pytest.raises(TooLarge, match=r"20.0 GB free on this machine. Fix: a machine with more"):
        room.reference_dtype(Room(400 * GB, 0), 0)
