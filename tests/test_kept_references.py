"""References on the disk: the same arrays again, and made anew where anything differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.contract import Arrays
from harness.models.kept_references import KeptReferences
from harness.toolkit.cache import Cache


class Counted:
    """Makes outputs, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Arrays:
        """The outputs: an array of each kind that a model may have."""
        self.made += 1
        return {
            "logits": np.arange(6.0).reshape(2, 3) / 7,
            "ids": np.array([], np.int64),
            "loss": np.array(np.nan, np.float32),
        }


GIVEN = {"x": np.arange(4.0)}


def test_outputs_are_made_once(tmp_path: Path) -> None:
    make = Counted()
    first = KeptReferences(Cache(tmp_path), entry="bert").outputs(make, GIVEN, dtype="float64")
    again = KeptReferences(Cache(tmp_path), entry="bert").outputs(make, GIVEN, dtype="float64")
    assert make.made == 1
    assert list(first) == list(again)
    for name, array in first.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array)


@pytest.mark.parametrize(
    ("case", "inputs", "parts"),
    [
        ({"entry": "gpt2"}, GIVEN, {"dtype": "float64"}),
        ({"entry": "bert"}, {"x": GIVEN["x"] + 1}, {"dtype": "float64"}),
        ({"entry": "bert"}, {"x": GIVEN["x"].reshape(2, 2)}, {"dtype": "float64"}),
        ({"entry": "bert"}, {"y": GIVEN["x"]}, {"dtype": "float64"}),
        ({"entry": "bert"}, GIVEN, {"dtype": "float32"}),
        ({"entry": "bert"}, GIVEN, {"dtype": "float64", "seed": 1}),
    ],
)
def test_whatever_differs_is_made_anew(
    tmp_path: Path, case: dict[str, object], inputs: Arrays, parts: dict[str, object]
) -> None:
    make = Counted()
    KeptReferences(Cache(tmp_path), entry="bert").outputs(make, GIVEN, dtype="float64")
    KeptReferences(Cache(tmp_path), **case).outputs(make, inputs, **parts)
    assert make.made == 2


def test_what_is_raised_is_not_kept(tmp_path: Path) -> None:
    def refuse() -> Arrays:
        raise RuntimeError("no float64")

    kept = KeptReferences(Cache(tmp_path), entry="bert")
    with pytest.raises(RuntimeError):
        kept.outputs(refuse, GIVEN)
    assert list(kept.outputs(Counted(), GIVEN)) == ["logits", "ids", "loss"]
