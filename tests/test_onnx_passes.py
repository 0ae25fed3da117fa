"""The graph rewrites of the ONNX backends change no result.

Skipped where the environment has no onnx, as that of `nox -s tests`; `README.md` of `backends/qnn`
says how to run them in that backend's environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx_ir as ir  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from onnx_ir.passes.common import ShapeInferencePass  # noqa: E402

from backends._shared.onnx import graph_cache, passes  # noqa: E402
from backends._shared.onnx.passes import Pass, chosen  # noqa: E402
from backends._shared.onnx.passes.activation import EXACT_ACTIVATION, TILED_ACTIVATION  # noqa: E402
from backends._shared.onnx.passes.arithmetic import ARITHMETIC, INTEGER_NEG  # noqa: E402
from backends._shared.onnx.passes.cumulative import CUM_SUM  # noqa: E402
from backends._shared.onnx.passes.einsum import EINSUM, terms  # noqa: E402
from backends._shared.onnx.passes.masked_softmax import MASKED_SOFTMAX  # noqa: E402
from backends._shared.onnx.passes.merged_dimensions import merged  # noqa: E402
from backends._shared.onnx.passes.missing_operators import MISSING, dft_matrix  # noqa: E402
from backends._shared.onnx.passes.narrow_types import MOVED, NARROW  # noqa: E402
from backends._shared.onnx.passes.norm import GROUPS_AS_ROWS, NARROW_NORM  # noqa: E402
from backends._shared.onnx.passes.pooling import AVERAGE_OF_ALL, PADDED_AVERAGE  # noqa: E402
from backends._shared.onnx.passes.rank import FLAT_MATMUL, LOW_RANK, RESHAPE_ONCE  # noqa: E402
from backends._shared.onnx.passes.scatter import KNOWN_PLACES  # noqa: E402
from backends._shared.onnx.passes.truths import EQUAL_AND, LOGIC  # noqa: E402
from backends._shared.onnx.runtime import placement_on  # noqa: E402
from harness.contract import Array, Arrays, HarnessError  # noqa: E402


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(op: str, inputs: Arrays, constants: Arrays, **attributes: Any) -> bytes:
    """A graph of one node, whose constants come after its inputs."""
    node = helper.make_node(op, [*inputs, *constants], ["y"], **attributes)
    return graph_of([node], inputs, constants)


def graph_of(nodes: Sequence[Any], inputs: Arrays, constants: Arrays) -> bytes:
    """A graph from the inputs to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in inputs.items()
        ],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return made


def rewritten(data: bytes, *applied: Pass) -> tuple[bytes, dict[str, int], set[str]]:
    """The graph after the passes, how often they applied, and the operators that it then has."""
    found = ir.serde.deserialize_model(onnx.load_from_string(data))
    ShapeInferencePass()(found)
    counts = passes.apply(found, applied)
    ops = {node.op_type for node in found.graph}
    return ir.serde.serialize_model(found).SerializeToString(), counts, ops


def run(data: bytes, inputs: Arrays) -> Array:
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, inputs)[0]
    return found


def holds(op: str, inputs: Arrays, constants: Arrays, applied: Pass, **attributes: Any) -> None:
    """The pass applies, leaves no such operator, and changes no value."""
    data = model(op, inputs, constants, **attributes)
    after, counts, ops = rewritten(data, applied)
    assert counts == {applied.name: 1}
    assert op not in ops
    want, got = run(data, inputs), run(after, inputs)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bclhn,bcshn->bclsh", [(2, 3, 4, 5, 6), (2, 3, 7, 5, 6)]),
        ("ibh,hnd->ibnd", [(2, 3, 4), (4, 5, 6)]),
        ("bzch,bzhpn->bchpn", [(2, 3, 4, 5), (2, 3, 5, 6, 7)]),
        ("...qhd,...khd->...hqk", [(2, 3, 4, 5, 6), (2, 3, 7, 5, 6)]),
        ("bij,jk,ni->bnk", [(2, 3, 4), (4, 5), (6, 3)]),
        ("blq,blk->blqk", [(2, 3, 4), (2, 3, 5)]),
        ("bsij,bsjk", [(2, 3, 4, 5), (2, 3, 5, 6)]),
        ("ijbn->bnij", [(2, 3, 4, 5)]),
        ("ab->a", [(2, 3)]),
        ("abz,bc->c", [(2, 3, 4), (3, 5)]),
        ("d, id->i", [(3,), (4, 3)]),
    ],
)
def test_einsum(equation: str, shapes: Sequence[tuple[int, ...]]) -> None:
    inputs = {f"x{i}": values(*shape, seed=i) for i, shape in enumerate(shapes)}
    holds("Einsum", inputs, {}, EINSUM, equation=equation)


def test_einsum_with_a_diagonal_stays() -> None:
    _, counts, ops = rewritten(model("Einsum", {"x": values(3, 3)}, {}, equation="ii->i"), EINSUM)
    assert counts == {}
    assert ops == {"Einsum"}


def test_an_ellipsis_has_labels_of_its_own() -> None:
    (left, right), out = terms("...ab,bc->...ac", [4, 2])
    assert len(set(left)) == 4
    assert right == "bc"
    assert out == left[:2] + "ac"


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("diagonal", [None, -1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.bool_, np.int64])
def test_trilu(upper: int, diagonal: int | None, dtype: type) -> None:
    constants = {} if diagonal is None else {"k": np.array(diagonal, dtype=np.int64)}
    x: Array = (values(2, 4, 5) + 3).astype(dtype)
    holds("Trilu", {"x": x}, constants, MISSING, upper=upper)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
@pytest.mark.parametrize("value", [None, 1])
def test_pad_of_what_is_exact(dtype: type, value: int | None) -> None:
    x: Array = (values(2, 3) > 0).astype(dtype)
    constants = {"pads": np.array([0, 2, 1, 3], dtype=np.int64)}
    if value is not None:
        constants["value"] = np.array(value, dtype=dtype)
    holds("Pad", {"x": x}, constants, MISSING)


@pytest.mark.parametrize("strides", [[1, 1], [2, 1]])
@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 2, 1, 0]])
def test_an_average_that_counts_no_padding(pads: list[int], strides: list[int]) -> None:
    attributes = {"kernel_shape": [3, 3], "pads": pads, "strides": strides}
    x = {"x": values(2, 3, 5, 6)}
    data = model("AveragePool", x, {}, **attributes)
    after, counts, _ = rewritten(data, PADDED_AVERAGE)
    assert counts == {"padded-average": 1}
    np.testing.assert_allclose(run(after, x), run(data, x), rtol=1e-5, atol=1e-6)


def test_a_batch_norm_of_videos() -> None:
    numbers = {name: values(3, seed=i) for i, name in enumerate(["scale", "bias", "mean"])}
    holds(
        "BatchNormalization",
        {"x": values(2, 3, 1, 4, 4)},
        {**numbers, "variance": np.abs(values(3, seed=9))},
        MISSING,
        epsilon=1e-3,
    )


def test_an_average_of_a_whole_image() -> None:
    holds("AveragePool", {"x": values(2, 3, 2, 4)}, {}, AVERAGE_OF_ALL, kernel_shape=[2, 4])
    # As PyTorch lets a window be.
    wide = {"kernel_shape": [4, 9], "strides": [4, 9], "ceil_mode": 1, "count_include_pad": 1}
    holds("AveragePool", {"x": values(2, 3, 2, 4)}, {}, AVERAGE_OF_ALL, **wide)
    part = model("AveragePool", {"x": values(2, 3, 4, 4)}, {}, kernel_shape=[2, 4])
    assert rewritten(part, AVERAGE_OF_ALL)[1] == {}


@pytest.mark.parametrize("known", [True, False])
def test_equal_to_a_truth(known: bool) -> None:
    holds("Equal", {"x": values(2, 3) > 0}, {"known": np.array(known)}, MISSING)


@pytest.mark.parametrize("op", ["Acos", "Asinh"])
def test_functions_of_one_number(op: str) -> None:
    scale = np.float32(1.0 if op == "Acos" else 1e3)
    holds(op, {"x": np.clip(values(4, 5), -1, 1) * scale}, {}, MISSING)


@pytest.mark.parametrize(("start", "count"), [(0, 1), (2, 1), (4, 1), (1, 3), (0, 5), (-2, 2)])
@pytest.mark.parametrize("axis", [1, -1])
def test_a_scatter_to_known_places(start: int, count: int, axis: int) -> None:
    x, updates = values(3, 5, 5), values(3, 5, 5, seed=1)
    shape = [3, 5, 5]
    shape[axis] = count
    places = np.expand_dims(np.arange(start, start + count), [i for i in range(3) if i != axis % 3])
    constants = {"places": np.ascontiguousarray(np.broadcast_to(places, shape), dtype=np.int64)}
    taken = updates.take(np.arange(count), axis)
    data = graph_of(
        [helper.make_node("ScatterElements", ["x", "places", "updates"], ["y"], axis=axis)],
        {"x": x, "updates": np.ascontiguousarray(taken)},
        constants,
    )
    after, counts, ops = rewritten(data, KNOWN_PLACES)
    assert counts == {"known-places": 1}
    assert "ScatterElements" not in ops
    given = {"x": x, "updates": taken}
    np.testing.assert_array_equal(run(after, given), run(data, given))


@pytest.mark.parametrize(
    "places", [[[0, 1], [1, 0], [0, 1]], [[0, 2], [0, 2], [0, 2]], [[0, 1], [0, 1]]]
)
def test_a_scatter_to_places_that_differ_stays(places: list[list[int]]) -> None:
    constants = {"places": np.array(places), "updates": values(len(places), 2)}
    data = model("ScatterElements", {"x": values(3, 4)}, constants, axis=1)
    assert rewritten(data, KNOWN_PLACES)[1] == {}


@pytest.mark.parametrize(
    ("op", "sizes", "constants", "attributes"),
    [
        ("Neg", (2, 1, 3, 2, 4), {}, {}),
        ("Gather", (2, 3, 2, 1, 2, 4), {"i": np.array(1)}, {"axis": 1}),
        ("Gather", (2, 3, 2, 1, 2, 4), {"i": np.array([[2, -1]])}, {"axis": 1}),
        ("Squeeze", (2, 1, 3, 1, 2, 4), {"axes": np.array([1])}, {}),
        ("Squeeze", (2, 1, 3, 1, 2, 4), {}, {}),
        ("Gather", (2, 3, 2, 1, 4), {"i": np.array([[2, -1], [0, 1]])}, {"axis": 1}),
        ("Unsqueeze", (2, 3, 4), {"axes": np.array([1, 3, 5])}, {}),
        ("ReduceMax", (2, 3, 2, 1, 2, 4), {"axes": np.array([2, 3])}, {"keepdims": 0}),
        ("ReduceMean", (2, 3, 2, 2, 2, 3), {"axes": np.array([-1, 1])}, {"keepdims": 1}),
        ("Exp", (2, 3, 2, 1, 2, 4), {}, {}),
        ("Mul", (2, 3, 2, 1, 2, 4), {"b": np.array(2.5, np.float32)}, {}),
        ("Mul", (2, 3, 2, 1, 2, 4), {"b": values(3, 1, 1, 1, 4)}, {}),
        ("Sub", (2, 1, 1, 2, 1, 4), {"b": values(2, 3, 2, 1, 2, 4)}, {}),
        (
            "Slice",
            (3, 2, 2, 1, 2, 4),
            {n: np.array([v]) for n, v in {"s": 1, "e": 2, "a": 0}.items()},
            {},
        ),
        (
            "Slice",
            (3, 2, 2, 1, 2, 4),
            {"s": np.array([-1, 3]), "e": np.array([9, 0]), "a": np.array([0, -1])}
            | {"t": np.array([1, -2])},
            {},
        ),
    ],
)
def test_operators_on_many_dimensions(
    op: str, sizes: tuple[int, ...], constants: Arrays, attributes: dict[str, int]
) -> None:
    x = {"x": values(*sizes)}
    data = model(op, x, constants, **attributes)
    after, counts, _ = rewritten(data, LOW_RANK)
    assert counts == {"low-rank": 1}
    np.testing.assert_array_equal(run(after, x), run(data, x))


def test_a_choice_over_six_dimensions() -> None:
    x = {"x": values(2, 3, 3, 2, 3, 2)}
    constants: Arrays = {"c": np.arange(6).reshape(3, 2, 1, 1) > 2, "a": np.array(0, np.float32)}
    nodes = [helper.make_node("Where", ["c", "a", "x"], ["y"])]
    data = graph_of(nodes, x, constants)
    after, counts, ops = rewritten(data, LOW_RANK)
    assert counts == {"low-rank": 1}
    assert {"Where", "Reshape"} <= ops
    np.testing.assert_array_equal(run(after, x), run(data, x))


@pytest.mark.parametrize(
    ("shapes", "want"),
    [
        ([(2, 3, 4), (2, 3, 4)], [[24], [24]]),
        ([(2, 3, 4), (1,), (2, 3, 4)], [[24], [1], [24]]),
        ([(2, 3, 4, 5), (4, 5), (2, 3, 4, 5)], [[6, 20], [1, 20], [6, 20]]),
        ([(2, 1, 4), (1, 3, 1), (2, 3, 4)], [[2, 1, 4], [1, 3, 1], [2, 3, 4]]),
        ([(2, 1, 4), (2, 1, 1), (2, 1, 4)], [[2, 4], [2, 1], [2, 4]]),
        ([(1, 1), (1, 1)], [[1], [1]]),
    ],
)
def test_neighbouring_dimensions_become_one(
    shapes: list[tuple[int, ...]], want: list[list[int]]
) -> None:
    assert merged(shapes) == want


def test_a_reshape_that_others_read_too_is_passed_over() -> None:
    x = {"x": values(4, 6)}
    constants: Arrays = {"six": np.array([2, 2, 1, 2, 3, 1]), "s": np.array([8, 3])}
    constants["t"] = np.array([3, 8])
    nodes = [
        helper.make_node("Reshape", ["x", "six"], ["between"]),
        helper.make_node("Reshape", ["between", "s"], ["a"]),
        helper.make_node("Reshape", ["between", "t"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    data = graph_of(nodes, x, constants)
    after, counts, _ = rewritten(data, RESHAPE_ONCE)
    assert counts == {"reshape-once": 2}
    left = onnx.load_from_string(after).graph.node
    assert [node.op_type for node in left if node.op_type == "Reshape"] == ["Reshape"] * 2
    np.testing.assert_array_equal(run(after, x), run(data, x))


@pytest.mark.parametrize("axis", [1, 2, -2])
@pytest.mark.parametrize(
    ("parts", "attributes"), [(2, {}), (2, {"inverse": 1}), (1, {}), (1, {"onesided": 1})]
)
def test_dft(axis: int, parts: int, attributes: dict[str, int]) -> None:
    x = values(2, 5, 6, parts)
    length = np.array(x.shape[axis], dtype=np.int64)
    constants = {"n": length, "axis": np.array(axis, dtype=np.int64)}
    holds("DFT", {"x": x}, constants, MISSING, **attributes)


def test_the_matrix_of_a_transform_is_numpys() -> None:
    x = values(6).astype(np.complex64) + 1j * values(6, seed=1)
    pairs = np.stack([x.real, x.imag], -1).reshape(-1).astype(np.float32)
    want = np.fft.fft(x)
    got = (pairs @ dft_matrix(6, 2, inverse=False, onesided=False)).reshape(6, 2)
    np.testing.assert_allclose(got[:, 0] + 1j * got[:, 1], want, rtol=1e-5, atol=1e-5)


def test_col2im() -> None:
    sizes = {"image": np.array([4, 6], np.int64), "block": np.array([2, 3], np.int64)}
    holds("Col2Im", {"x": values(2, 5 * 6, 4)}, sizes, MISSING, strides=[2, 3])


def test_overlapping_patches_stay() -> None:
    sizes = {"image": np.array([4, 4], np.int64), "block": np.array([2, 2], np.int64)}
    graph = model("Col2Im", {"x": values(1, 4, 9)}, sizes, strides=[1, 1])
    assert rewritten(graph, MISSING)[1] == {}


@pytest.mark.parametrize("axis", [0, 2, -1])
@pytest.mark.parametrize("attributes", [{}, {"exclusive": 1}, {"reverse": 1}])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_cum_sum(axis: int, attributes: dict[str, int], dtype: type) -> None:
    x: Array = (10 * values(2, 3, 4, 5, 6)).astype(dtype)
    graph = model("CumSum", {"x": x}, {"axis": np.array(axis, dtype=np.int64)}, **attributes)
    after, counts, ops = rewritten(graph, CUM_SUM)
    assert counts == {"cum-sum": 1}
    assert ("CumSum" in ops) == (dtype is np.float32)
    np.testing.assert_allclose(run(after, {"x": x}), run(graph, {"x": x}), rtol=1e-5, atol=1e-4)


def test_a_running_sum_of_four_dimensions_stays() -> None:
    axis = {"axis": np.array(1, dtype=np.int64)}
    graph = model("CumSum", {"x": values(2, 3, 4, 5)}, axis)
    assert rewritten(graph, CUM_SUM)[1] == {}


@pytest.mark.parametrize(("sizes", "applies"), [((2, 5, 32), 1), ((2, 5, 3, 8), 1), ((1, 9, 8), 0)])
def test_a_narrow_norm(sizes: tuple[int, ...], applies: int) -> None:
    constants: Arrays = {
        "two": np.array(2, np.float32),
        "axes": np.array([-1], np.int64),
        "epsilon": np.array(1e-6, np.float32),
    }
    nodes = [
        helper.make_node("Pow", ["x", "two"], ["squares"]),
        helper.make_node("ReduceMean", ["squares", "axes"], ["mean"], keepdims=1),
        helper.make_node("Add", ["mean", "epsilon"], ["shifted"]),
        helper.make_node("Sqrt", ["shifted"], ["root"]),
        helper.make_node("Reciprocal", ["root"], ["scale"]),
        helper.make_node("Mul", ["x", "scale"], ["y"]),
    ]
    x = values(*sizes)
    data = graph_of(nodes, {"x": x}, constants)
    after, counts, ops = rewritten(data, NARROW_NORM)
    assert counts == ({"narrow-norm": 1} if applies else {})
    assert ("Reshape" in ops) == bool(applies)
    np.testing.assert_allclose(run(after, {"x": x}), run(data, {"x": x}), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "scale", "applies"),
    [((2, 4, 24), [2, 2, 2, 2], 1), ((2, 4, 24), [1, 2, 2, 2], 0), ((2, 4, 6, 4), [1, 1, 1, 1], 0)],
)
def test_the_norm_of_groups(sizes: tuple[int, ...], scale: list[int], applies: int) -> None:
    constants = {"scale": np.array(scale, np.float32), "bias": np.full(4, 0.5, np.float32)}
    x = values(*sizes)
    graph = model("InstanceNormalization", {"x": x}, constants, epsilon=0.1)
    after, counts, ops = rewritten(graph, GROUPS_AS_ROWS)
    assert counts == ({"groups-as-rows": 1} if applies else {})
    assert ("LayerNormalization" in ops) == bool(applies)
    np.testing.assert_allclose(run(after, {"x": x}), run(graph, {"x": x}), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "sizes", "applies"),
    [
        ("Gelu", (2, 16, 64), 1),
        ("Tanh", (32, 128), 1),
        ("Sigmoid", (4096,), 1),
        ("Gelu", (2, 15, 72), 0),  # tiles would be left over
        ("Gelu", (2, 8, 64), 0),  # too small
        ("Tanh", (2, 8, 16, 16), 0),  # an image
    ],
)
def test_an_activation_of_tiles(op: str, sizes: tuple[int, ...], applies: int) -> None:
    x = values(*sizes)
    attributes = {"approximate": "tanh"} if op == "Gelu" else {}
    graph = model(op, {"x": x}, {}, **attributes)
    after, counts, ops = rewritten(graph, TILED_ACTIVATION, EXACT_ACTIVATION)
    assert counts == ({"tiled-activation": 1, "exact-activation": 1} if applies else {})
    assert ops == ({"Reshape", "Clip", op} if applies else {op})
    np.testing.assert_array_equal(run(after, {"x": x}), run(graph, {"x": x}))


@pytest.mark.parametrize("perm", [[0, 1, 4, 2, 5, 3], [5, 4, 3, 2, 1, 0], [2, 5, 0, 3, 1, 4]])
def test_a_transpose_of_six_dimensions(perm: list[int]) -> None:
    x = values(2, 3, 2, 3, 2, 3)
    data = model("Transpose", {"x": x}, {}, perm=perm)
    after, counts, _ = rewritten(data, LOW_RANK)
    assert counts == {"low-rank": 1}
    np.testing.assert_array_equal(run(after, {"x": x}), np.transpose(x, perm))
    ranks = [
        len(node.attributes["perm"].as_ints())
        for node in ir.serde.deserialize_model(onnx.load_from_string(after)).graph
        if node.op_type == "Transpose"
    ]
    assert ranks
    assert max(ranks) <= 5


@pytest.mark.parametrize(("weight", "applies"), [((3, 5), 1), ((4, 3, 5), 0)])
def test_a_product_of_rows_with_a_matrix(weight: tuple[int, ...], applies: int) -> None:
    constants: Arrays = {"s": np.array([4, 2, 3], np.int64), "w": values(*weight, seed=1)}
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    x = values(2, 2, 6)
    data = graph_of(nodes, {"x": x}, constants)
    after, counts, _ = rewritten(data, FLAT_MATMUL)
    assert counts == ({"flat-matmul": 1} if applies else {})
    np.testing.assert_allclose(run(after, {"x": x}), run(data, {"x": x}), rtol=1e-5, atol=1e-6)


def test_a_rewrite_is_left_out_by_name() -> None:
    assert chosen((EINSUM, CUM_SUM), "einsum") == (CUM_SUM,)
    with pytest.raises(HarnessError, match="found 'einsumm'"):
        chosen((EINSUM,), "einsumm")


def test_conversions_at_the_ends_are_no_work_of_the_model() -> None:
    assigned = {"QNN": [["MatMul"] * 3], "CPU": [["QuantizeLinear"], ["DequantizeLinear"]]}
    assert placement_on("QNN", assigned, ends=2).device_share == 1.0
    assert placement_on("QNN", assigned, ends=1).fallback_ops == {"DequantizeLinear": 1}
    assert placement_on("QNN", {"CPU": [["MatMul"]]}, ends=9).device_share == 0.0


def test_arrays_come_back_from_the_cache_under_their_names() -> None:
    held = {"a.b/c": values(2, 3), "": np.array([True, False]), "names": values(1)}
    found = graph_cache.unpacked(graph_cache.packed(held))
    assert list(found) == list(held)
    for name, array in held.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


#: Integers on both sides of 0, among them each remainder of small divisors.
INTEGERS: Array = np.arange(-12, 12, dtype=np.int64).reshape(2, 3, 4)
TRUTHS: Array = INTEGERS % 3 == 0


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Neg", {"x": INTEGERS}, {}),
        ("Abs", {"x": INTEGERS}, {}),
        ("Sign", {"x": INTEGERS}, {}),
        ("Sign", {"x": INTEGERS.astype(np.float32)}, {}),
        ("Mod", {"x": INTEGERS, "z": np.array(5)}, {}),
        ("Mod", {"x": INTEGERS, "z": np.array(-5)}, {}),
        ("Mod", {"x": INTEGERS, "z": np.array(-5)}, {"fmod": 1}),
        ("Round", {"x": INTEGERS.astype(np.float32) / 4}, {}),
        ("LogSoftmax", {"x": values(2, 3, 4) * 50}, {"axis": 1}),
        ("IsInf", {"x": np.array([1, np.inf, -np.inf, np.nan, 3e38], np.float32)}, {}),
    ],
)
def test_arithmetic(op: str, inputs: Arrays, attributes: dict[str, Any]) -> None:
    holds(op, inputs, {}, ARITHMETIC, **attributes)


def test_neg_of_integers_alone_becomes_a_difference() -> None:
    holds("Neg", {"x": INTEGERS}, {}, INTEGER_NEG)
    assert rewritten(model("Neg", {"x": values(2, 3)}, {}), INTEGER_NEG)[1] == {}


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    constants = {"depth": np.array(5), "values": np.array([2, 7], np.float32)}
    holds("OneHot", {"x": INTEGERS[0] % 5 - 2}, constants, ARITHMETIC, axis=axis)


@pytest.mark.parametrize("op", ["Or", "Xor"])
def test_logic(op: str) -> None:
    holds(op, {"x": TRUTHS, "z": TRUTHS[:1, ::-1]}, {}, LOGIC)


def test_and_gets_operands_of_one_shape() -> None:
    inputs: Arrays = {"x": TRUTHS[:, :, :1], "z": TRUTHS[:1]}
    data = model("And", inputs, {})
    after, counts, ops = rewritten(data, EQUAL_AND)
    assert counts == {"equal-and": 1}
    assert ops == {"Expand", "And"}
    assert (run(after, inputs) == run(data, inputs)).all()
    assert rewritten(after, EQUAL_AND)[1] == {}


@pytest.mark.parametrize("x", [INTEGERS, TRUTHS], ids=["integers", "truths"])
@pytest.mark.parametrize(
    ("op", "constants", "attributes"),
    [
        ("Squeeze", {"axes": np.array([0])}, {}),
        ("Squeeze", {}, {}),
        ("Flatten", {}, {"axis": 2}),
        ("Slice", {"a": np.array([1, 0]), "b": np.array([9, -1]), "c": np.array([3, 1])}, {}),
        ("Slice", {"a": np.array([0]), "b": np.array([2])}, {}),
        (
            "Slice",
            {
                "a": np.array([-1]),
                "b": np.array([-(2**63)]),
                "c": np.array([2]),
                "d": np.array([-2]),
            },
            {},
        ),
        ("GatherElements", {"i": np.array([[[[0, -1, 2, 1]]]])}, {"axis": 2}),
        ("GatherElements", {"i": np.array([[[[-3]], [[2]]]]).reshape(1, 2, 1, 1)}, {"axis": -2}),
    ],
)
def test_moves_of_what_is_exact(
    x: Array, op: str, constants: Arrays, attributes: dict[str, Any]
) -> None:
    holds(op, {"x": x[None]}, constants, MOVED, **attributes)


@pytest.mark.parametrize(
    ("op", "inputs", "constants", "attributes"),
    [
        ("Transpose", {"x": INTEGERS}, {}, {"perm": [2, 0, 1]}),
        ("Transpose", {"x": TRUTHS}, {}, {"perm": [2, 0, 1]}),
        ("Concat", {"x": TRUTHS, "z": ~TRUTHS}, {}, {"axis": 1}),
        ("Equal", {"x": TRUTHS, "z": ~TRUTHS[:1]}, {}, {}),
        ("Tile", {"x": TRUTHS}, {"repeats": np.array([1, 2, 1])}, {}),
        ("CumSum", {"x": INTEGERS}, {"axis": np.array(1)}, {"exclusive": 1}),
        ("ReduceMax", {"x": INTEGERS}, {"axes": np.array([1])}, {}),
        ("ArgMax", {"x": INTEGERS}, {}, {"axis": 2}),
        ("Pad", {"x": INTEGERS}, {"p": np.array([0, 0, 1, 0, 2, 0]), "v": np.array(7)}, {}),
        ("ScatterND", {"x": INTEGERS}, {"i": np.array([[1, 2]]), "u": INTEGERS[0, :1]}, {}),
        (
            "ScatterElements",
            {"x": TRUTHS},
            {"i": np.array([[[0]], [[2]]]), "u": ~TRUTHS[:, :1, :1]},
            {"axis": 1},
        ),
    ],
)
def test_integers_in_32_bits(
    op: str, inputs: Arrays, constants: Arrays, attributes: dict[str, Any]
) -> None:
    data = model(op, inputs, constants, **attributes)
    after, counts, ops = rewritten(data, NARROW)
    assert counts == {"narrow-types": 1}
    assert {op, "Cast"} <= ops
    want, got = run(data, inputs), run(after, inputs)
    assert got.dtype == want.dtype
    assert (got == want).all()


def test_floats_keep_their_type() -> None:
    data = model("Transpose", {"x": values(2, 3)}, {})
    assert rewritten(data, NARROW, MOVED)[1:] == ({}, {"Transpose"})


def guarded(x: Array, zero: float = 0.0) -> bytes:
    """Attention's guard: zeros, or another number, where a softmax is NaN."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["chances"], axis=-1),
        helper.make_node("IsNaN", ["chances"], ["hidden"]),
        helper.make_node("Where", ["hidden", "zero", "chances"], ["y"]),
    ]
    return graph_of(nodes, {"x": x}, {"zero": np.array(zero, np.float32)})


def test_rows_that_a_mask_hides_whole() -> None:
    x = values(4, 5) * 1e30
    x[1] = -np.inf
    x[2, :4] = -np.inf
    x[3, 0] = np.finfo(np.float32).min
    after, counts, ops = rewritten(guarded(x), MASKED_SOFTMAX)
    assert counts == {"masked-softmax": 1}
    assert "IsNaN" not in ops
    want, got = run(guarded(x), {"x": x}), run(after, {"x": x})
    assert not want[1].any()
    np.testing.assert_array_equal(got, want)


def test_another_number_than_zero_stays() -> None:
    assert rewritten(guarded(values(4, 5), 1.0), MASKED_SOFTMAX)[1] == {}
