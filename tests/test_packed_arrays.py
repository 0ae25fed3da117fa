"""Packed arrays come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contract import Arrays
from harness.toolkit.packed_arrays import Unpackable, pack, unpack

ARRAYS: Arrays = {
    "logits": np.arange(6.0).reshape(2, 3) / 7,
    "halves": np.array([1.5, np.nan, -np.inf], np.float16),
    "mask": np.array([[True, False]]),
    "empty": np.zeros((0, 4), np.int64),
    "scalar": np.array(np.pi, np.float32),
    "turned": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    "big-endian": np.array([1, 2], ">i4"),
    'a name\n[with all] "kinds"': np.array([1 + 2j]),
}


def test_arrays_come_back_with_names_dtypes_and_shapes() -> None:
    found = unpack(pack(ARRAYS))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_each_array_has_memory_of_its_own() -> None:
    found = unpack(pack(ARRAYS))
    found["logits"][:] = 0
    np.testing.assert_array_equal(unpack(pack(ARRAYS))["logits"], ARRAYS["logits"])


def test_no_arrays_are_packed_too() -> None:
    assert unpack(pack({})) == {}


def test_python_objects_are_refused() -> None:
    with pytest.raises(Unpackable, match="expected numbers in 'names', found object"):
        pack({"names": np.array(["a", None], object)})


@pytest.mark.parametrize("data", [b"", b"no index", b'[["x", "<f8", [2]]]\nshort'])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expecting|buffer|value"):
        unpack(data)
