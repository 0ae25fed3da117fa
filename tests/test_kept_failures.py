"""Failures in the cache: raised again as they were, and none that the machine's state explains."""

from __future__ import annotations

import json

import pytest

from harness.toolkit import fingerprints, kept_failures


class ExportFailed(Exception):
    """As a backend may define one."""


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """The exception with a traceback."""
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_a_kept_failure_says_what_the_first_one_said() -> None:
    first = raised(ExportFailed("dynamo: no translation for aten::frobnicate\nsecond line"))
    with pytest.raises(kept_failures.KeptFailure) as kept:
        kept_failures.raise_kept(kept_failures.pack(first))
    assert type(kept.value).__name__ == "ExportFailed"
    assert str(kept.value) == str(first)
    assert fingerprints.of(kept.value) == fingerprints.of(first)
    assert "test_kept_failures.py" in str(kept.value.__cause__), "the first traceback is shown"


def test_a_kept_failure_has_its_cause_from_where_it_was_raised_first() -> None:
    try:
        json.loads("{")  # whose fingerprint names the library's function
    except ValueError as error:
        first = error
    assert "@ json." in fingerprints.of(first)
    with pytest.raises(kept_failures.KeptFailure) as kept:
        kept_failures.raise_kept(kept_failures.pack(first))
    assert fingerprints.of(kept.value) == fingerprints.of(first)


def test_an_entry_that_is_a_model_is_no_failure() -> None:
    kept_failures.raise_kept({"model.onnx": b"..."})


@pytest.mark.parametrize(
    "passing",
    [
        MemoryError(),
        OSError(28, "No space left on device"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    ],
)
def test_what_another_day_may_be_otherwise_is_not_kept(passing: Exception) -> None:
    assert kept_failures.lasting(raised(ExportFailed("no route")))
    assert not kept_failures.lasting(raised(passing))
    assert not kept_failures.lasting(raised(ExportFailed("no route"), raised(passing)))
