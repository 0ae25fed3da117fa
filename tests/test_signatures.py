"""Signatures of models: written down and read back without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import HarnessError
from harness.toolkit import signature
from harness.toolkit.signature import BATCHES, LENGTHS, Signature, Spec, parse, specs

(B, B2), (S, S2) = BATCHES, LENGTHS

LINE = (
    "bert BertModel 87744 input_ids:i64[b,s] attention_mask:i64[b,s] -> "
    "last_hidden_state:f32[b,s,64] pooler_output:f32[b,64]"
)

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]

sizes = st.integers(0, 5000)
#: Any two sizes of a dimension, and those that follow from batch and length.
pairs = st.tuples(sizes, sizes) | st.builds(
    lambda rows, steps, more: (rows * B + steps * S + more, rows * B2 + steps * S2 + more),
    st.integers(0, 4),
    st.sampled_from([0, 0.5, 1, 2]),
    st.integers(0, 40),
).map(lambda pair: (int(pair[0]), int(pair[1])))
names = st.text("abcdefghijklmnopqrstuvwxyz_0123456789.", min_size=1, max_size=12)


def symbol(x: int, y: int) -> str:
    """The symbol of a dimension that has these two sizes."""
    return specs({"a": np.empty((x,))}, {"a": np.empty((y,))})["a"].dims[0]


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (64, 64, "64"),
        (B, B2, "b"),
        (8 * B, 8 * B2, "8b"),
        (S, S2, "s"),
        (3 * S, 3 * S2, "3s"),
        (S // 2, S2 // 2, "s/2"),
        (S + 5, S2 + 5, "s+5"),
        (S - 5, S2 - 5, "s-5"),
        (B * (S + 5), B2 * (S2 + 5), "b*(s+5)"),
        (100 * B, 100 * B2, "100b"),
        (18, 25, "18~25"),
        (B, B, str(B)),
    ],
)
def test_dimensions_have_readable_names(first: int, second: int, name: str) -> None:
    assert symbol(first, second) == name
    spec = Spec("float32", (name,))
    assert (*spec.shape(), *spec.shape(reshaped=True)) == (first, second)


@given(pairs)
def test_a_dimensions_name_says_both_of_its_sizes(pair: tuple[int, int]) -> None:
    spec = Spec("float32", (symbol(*pair),))
    assert (*spec.shape(), *spec.shape(reshaped=True)) == pair


def test_batch_and_length_can_be_told_apart() -> None:
    """Sizes that follow the batch, the length, or both have symbols of their own."""
    found = {symbol(x * B + y * S, x * B2 + y * S2) for x in range(4) for y in range(3)}
    assert len(found) == 12


@given(
    st.dictionaries(names, st.tuples(st.sampled_from(DTYPES), st.lists(pairs, max_size=4))),
    st.dictionaries(names, st.tuples(st.sampled_from(DTYPES), st.lists(pairs, max_size=4))),
    st.integers(0, 10**12),
)
def test_what_is_written_is_read_back(
    inputs: dict[str, tuple[str, list[tuple[int, int]]]],
    outputs: dict[str, tuple[str, list[tuple[int, int]]]],
    parameters: int,
) -> None:
    rows = [
        {name: Spec(dtype, tuple(symbol(*p) for p in dims)) for name, (dtype, dims) in row.items()}
        for row in (inputs, outputs)
    ]
    made = Signature("bert", "BertModel", parameters, rows[0], rows[1])
    again = parse(str(made))
    assert again == made
    assert list(again.inputs) == list(made.inputs)


def test_a_line_as_it_stands_in_the_snapshot() -> None:
    found = parse(LINE)
    assert (found.label, found.model, found.parameters) == ("bert", "BertModel", 87744)
    assert found.inputs["input_ids"] == Spec("int64", ("b", "s"))
    assert found.outputs["last_hidden_state"].shape() == (B, S, 64)
    assert found.outputs["last_hidden_state"].shape(reshaped=True) == (B2, S2, 64)
    assert str(found) == LINE


@pytest.mark.parametrize(
    "line",
    [
        "",
        "bert",
        LINE.replace(" -> ", " "),
        LINE.replace("87744", "many"),
        LINE.replace("i64", "i65"),
        LINE.replace("[b,64]", "b,64"),
        LINE + " -> x:f32[b]",
    ],
)
def test_a_line_that_is_none(line: str) -> None:
    with pytest.raises(HarnessError, match=r"expected a signature like .* -m [a-z_]+ record"):
        parse(line)


@pytest.mark.parametrize("dim", ["q", "b+", "s//2", "1~", "b*(q)", ""])
def test_a_dimension_that_is_none(dim: str) -> None:
    with pytest.raises(HarnessError, match="expected a signature like"):
        parse(f"bert BertModel 1 x:f32[b,{dim}] -> y:f32[b]")


def test_specs_of_a_model_that_takes_one_shape_are_numbers() -> None:
    assert specs({"x": np.empty((B, S))}, None)["x"].dims == (str(B), str(S))


def test_specs_of_outputs_that_come_and_go_are_numbers() -> None:
    first = {"x": np.empty((B, S)), "gone": np.empty((B,)), "ranks": np.empty((B, 4))}
    second = {"x": np.empty((B2, S2)), "ranks": np.empty((B2,))}
    found = specs(first, second)
    assert {name: spec.dims for name, spec in found.items()} == {
        "x": ("b", "s"),
        "gone": (str(B),),
        "ranks": (str(B), "4"),
    }


def test_a_size_that_follows_from_values_matches_any() -> None:
    found = specs(
        {"x": np.empty((B, 79, 2))}, {"x": np.empty((B2, 83, 2))}, [{"x": np.empty((B, 82, 2))}]
    )
    assert found["x"].dims == ("b", "79?", "2")
    assert found["x"].shape() == (B, 79, 2)
    assert found["x"].at(5, 7, 3) == (5, 79, 2)
    recorded = parse("a A 1 x:f32[b] -> y:f32[b,79?,2]")
    assert str(recorded) == "a A 1 x:f32[b] -> y:f32[b,79?,2]"
    for dims, alike in (("b,82~83,2", True), ("b,s,2", True), ("b,79,3", False), ("b,2", False)):
        line = parse(f"a A 1 x:f32[b] -> y:f32[{dims}]")
        assert (line.like(recorded) == recorded) is alike, dims
    fewer = parse("a A 1 x:f32[b] -> z:f32[b]")
    assert fewer.like(recorded) == fewer


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype: str) -> None:
    """The reference is computed in float64, which a user never sees."""
    found = specs({"x": np.empty((1,), dtype=dtype)}, None)["x"]
    assert found.dtype == ("float32" if dtype == "float64" else dtype)


def test_scalars_have_no_dimensions() -> None:
    spec = specs({"x": np.array(1.0)}, {"x": np.array(2.0)})["x"]
    assert (str(spec), spec.shape()) == ("f32[]", ())
    assert parse("a B 1 x:f32[] -> y:f32[]").inputs["x"] == spec


def test_a_snapshot_is_read_by_entry(tmp_path: Path) -> None:
    path = tmp_path / "signatures.txt"
    path.write_text(f"# a comment\n\n{LINE}\n{LINE.replace('bert', 'roberta', 1)}\n")
    assert list(signature.load(path)) == ["bert", "roberta"]
    assert signature.load(tmp_path / "none.txt") == {}


def test_a_broken_snapshot_says_which_line(tmp_path: Path) -> None:
    path = tmp_path / "signatures.txt"
    path.write_text(f"{LINE}\nbert BertModel\n")
    with pytest.raises(HarnessError, match="found 'bert BertModel'"):
        signature.load(path)


def test_the_committed_snapshot_is_in_order() -> None:

    lines = signature.SNAPSHOT.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("#")]
    found = signature.load(signature.SNAPSHOT)
    assert [str(spec) for spec in found.values()] == kept
    assert list(found) == sorted(found)
