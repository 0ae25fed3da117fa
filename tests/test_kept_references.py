"""References on the disk: the same arrays again, and made anew where anything differs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from harness.contract import Arrays
from harness.models import kept_references
from harness.models.kept_references import KeptReferences
from harness.toolkit.cache import Cache


class Counted:
    """Makes outputs, and counts how often."""

    def __init__(self, first: float = 0.0) -> None:
        self.made = 0
        self.first = first

    def __call__(self) -> Arrays:
        """The outputs: an array of each kind that a model may have."""
        self.made += 1
        return {
            "logits": np.arange(self.first, self.first + 6.0).reshape(2, 3) / 7,
            "ids": np.array([], np.int64),
            "loss": np.array(np.nan, np.float32),
        }


GIVEN = {"x": np.arange(4.0)}


def kept(folder: Path, entry: str = "bert", *, audited: bool = False) -> KeptReferences:
    return KeptReferences(Cache(folder), lambda: {"entry": entry}, audited=audited)


@pytest.mark.parametrize("together", [True, False])
def test_outputs_are_made_once(tmp_path: Path, together: bool) -> None:
    make = Counted()
    before = KeptReferences(Cache(tmp_path), lambda: {"entry": "bert"}, together=together)
    first = before.outputs(make, GIVEN, dtype="float64")
    before.save()
    after = KeptReferences(Cache(tmp_path), lambda: {"entry": "bert"}, together=together)
    again = after.outputs(make, GIVEN, dtype="float64")
    assert make.made == 1
    assert (before.made, before.found, after.made, after.found) == (1, 0, 0, 1)
    assert list(first) == list(again)
    for name, array in first.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array)


def test_same_call_again_in_one_process_is_made_again(tmp_path: Path) -> None:
    """The determinism of a reference is no check if the store answers for it."""
    make = Counted()
    case = kept(tmp_path)
    case.outputs(make, GIVEN, dtype="float64")
    case.outputs(make, GIVEN, dtype="float64")
    assert make.made == 2
    case.save()
    again = kept(tmp_path)
    again.outputs(make, GIVEN, dtype="float64")
    again.outputs(make, GIVEN, dtype="float64")
    assert (make.made, again.found) == (2, 2)


@pytest.mark.parametrize(
    ("entry", "inputs", "parts"),
    [
        ("gpt2", GIVEN, {"dtype": "float64"}),
        ("bert", {"x": GIVEN["x"] + 1}, {"dtype": "float64"}),
        ("bert", {"x": GIVEN["x"].reshape(2, 2)}, {"dtype": "float64"}),
        ("bert", {"y": GIVEN["x"]}, {"dtype": "float64"}),
        ("bert", GIVEN, {"dtype": "float32"}),
        ("bert", GIVEN, {"dtype": "float64", "seed": 1}),
    ],
)
def test_whatever_differs_is_made_anew(
    tmp_path: Path, entry: str, inputs: Arrays, parts: Mapping[str, object]
) -> None:
    make = Counted()
    case = kept(tmp_path)
    case.outputs(make, GIVEN, dtype="float64")
    case.save()
    kept(tmp_path, entry).outputs(make, inputs, **parts)
    assert make.made == 2


@pytest.mark.parametrize("part", ["machine", "code"])
def test_another_machine_or_code_makes_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    make = Counted()
    case = kept(tmp_path)
    case.outputs(make, GIVEN)
    case.save()
    other = {**kept_references.environment(), part: "another"}
    monkeypatch.setattr(kept_references, "environment", lambda: other)
    kept(tmp_path).outputs(make, GIVEN)
    assert make.made == 2


def test_another_version_of_a_package_makes_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Counted()
    case = kept(tmp_path)
    case.outputs(make, GIVEN)
    case.save()
    monkeypatch.setattr(kept_references, "_version", lambda package: "0.0")
    kept(tmp_path).outputs(make, GIVEN)
    assert make.made == 2


def test_what_is_raised_is_not_kept(tmp_path: Path) -> None:
    def refuse() -> Arrays:
        raise RuntimeError("no float64")

    case = kept(tmp_path)
    with pytest.raises(RuntimeError):
        case.outputs(refuse, GIVEN)
    case.save()
    assert list(kept(tmp_path).outputs(Counted(), GIVEN)) == ["logits", "ids", "loss"]


def test_outputs_that_are_python_objects_are_made_each_time(tmp_path: Path) -> None:
    case = kept(tmp_path)
    case.outputs(lambda: {"names": np.array([None], object)}, GIVEN)
    case.save()
    assert not list(tmp_path.iterdir())


def test_check_that_passed_is_not_made_again(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        case = kept(tmp_path)
        case.passed(lambda: made.append(1), recorded="bert of 4.57")
        case.save()
    assert made == [1]


def test_check_that_fails_is_made_again(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no such key")

    for _ in range(2):
        case = kept(tmp_path)
        with pytest.raises(ValueError, match="no such key"):
            case.passed(fail, recorded="bert of 4.57")
        case.save()


def test_two_writers_of_a_case_keep_each_others_outputs(tmp_path: Path) -> None:
    first, second = kept(tmp_path), kept(tmp_path)
    first.outputs(Counted(), GIVEN, dtype="float32")
    second.outputs(Counted(), GIVEN, dtype="float64")
    first.save()
    second.save()
    after, make = kept(tmp_path), Counted()
    after.outputs(make, GIVEN, dtype="float32")
    after.outputs(make, GIVEN, dtype="float64")
    assert (make.made, after.found) == (0, 2)


def test_damaged_entry_is_made_anew(tmp_path: Path) -> None:
    case = kept(tmp_path)
    case.outputs(Counted(), GIVEN)
    case.save()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    make = Counted()
    kept(tmp_path).outputs(make, GIVEN)
    assert make.made == 1


def test_audit_finds_what_is_not_given_again(tmp_path: Path) -> None:
    case = kept(tmp_path)
    case.outputs(Counted(), GIVEN, dtype="float64")
    case.save()
    right, wrong = kept(tmp_path, audited=True), kept(tmp_path, audited=True)
    right.outputs(Counted(), GIVEN, dtype="float64")
    assert right.different == []
    found = wrong.outputs(Counted(first=1e-9), GIVEN, dtype="float64")
    assert found["logits"][0, 0] == 0.0
    (fault,) = wrong.different
    assert "expected the reference (dtype float64) as kept, found another: logits" in str(fault)


def test_audit_leaves_roundings_of_the_dtype_alone(tmp_path: Path) -> None:
    """Kernels that go by the alignment of memory give another last bit now and then."""
    case = kept(tmp_path)
    case.outputs(Counted(), GIVEN, dtype="float32")
    case.outputs(Counted(), GIVEN, dtype="bfloat16", jittered=1.0)
    case.save()
    again = kept(tmp_path, audited=True)
    again.outputs(Counted(first=1e-9), GIVEN, dtype="float32")
    again.outputs(Counted(first=1e-3), GIVEN, dtype="bfloat16", jittered=1.0)
    assert again.different == []


def test_no_cache_keeps_nothing() -> None:
    make = Counted()
    for _ in range(2):
        case = KeptReferences(Cache(None), lambda: {"entry": "bert"})
        case.outputs(make, GIVEN)
        case.save()
    assert make.made == 2
