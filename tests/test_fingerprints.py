"""The same fault in forty models is one cause, and different faults are not."""

from __future__ import annotations

from pathlib import Path
from traceback import FrameSummary

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.toolkit import fingerprints
from harness.toolkit.fingerprints import faulthandler_frames, fingerprint, normalise

SITE = "/home/me/.nox/x/lib/python3.11/site-packages"


def frame(path: str, name: str) -> FrameSummary:
    return FrameSummary(path, 10, name, lookup_line=False, line="")


SAME = [
    (
        "mat1 and mat2 shapes cannot be multiplied (2x16 and 64x128)",
        "mat1 and mat2 shapes cannot be multiplied (14x768 and 3x3)",
        "mat1 and mat2 shapes cannot be multiplied (<shape> and <shape>)",
    ),
    (
        "The size of tensor a (17) must match the size of tensor b (-3) at dimension 1",
        "The size of tensor a (5) must match the size of tensor b (64) at dimension 3",
        "The size of tensor a (<n>) must match the size of tensor b (<n>) at dimension <n>",
    ),
    (
        "'BertConfig' object has no attribute 'rope_theta'",
        "'Qwen3NextConfig' object has no attribute 'rope_theta'",
        "'<Config>' object has no attribute 'rope_theta'",
    ),
    (
        "BertForMaskedLM.forward() got an unexpected keyword argument 'past'",
        "GPT2LMForMaskedLM.forward() got an unexpected keyword argument 'past'",
        None,
    ),
    (
        "expected shape [2, 16, 64], found torch.Size([2, 8])",
        "expected shape [1], found torch.Size([2, 8, 9])",
        "expected shape <shape>, found <shape>",
    ),
    (
        "cannot read /home/me/.cache/models/bert.xml",
        "cannot read C:\\Users\\me\\models\\gpt2.xml",
        "cannot read <path>",
    ),
    ("null pointer at 0x7f3a00ff", "null pointer at 0x0", "null pointer at <address>"),
    ("error 1.5e-07 > 3E+2", "error 0.25 > -4", "error <n> > <n>"),
    (
        "no weight layers.0.self_attn.q_proj.weight in the file",
        "no weight encoder.block.11.k.weight in the file",
        "no weight <parameter> in the file",
    ),
    (
        "cannot import name 'x' from 'transformers.models.bert.modeling_bert'",
        "cannot import name 'x' from 'transformers.models.gpt_neo.modeling_gpt_neo'",
        "cannot import name 'x' from 'transformers.models.<model>.modeling_<model>'",
    ),
    (
        "on input 'base': last_hidden_state: relative error 0.28, at most 1e-06; score inf",
        "on input 'base': decoder.logits: relative error nan, at most 0.1; score 3e+4",
        "on input 'base': <output>: relative error <n>, at most <n>; score <n>",
    ),
    (
        "a: 3 of 16 values are not finite; b.c: 4 of 64 values are not finite",
        "hidden_states.3: 1 of 2 values are not finite",
        "<output>: <n> of <n> values are not finite",
    ),
    (
        "logits: expected shape (2, 16), got (2,)",
        "pooler_output: expected shape (1,), got (4, 4, 4)",
        "<output>: expected shape <shape>, got <shape>",
    ),
    (
        "outputs: expected ['a', 'b'], got ['a']",
        "outputs: expected ['x'], got []",
        "outputs: expected <names>, got <names>",
    ),
    (
        "unexpected names {'b', 'a'} in it",
        "unexpected names {'a', 'b', 'c'} in it",
        "unexpected names <names> in it",
    ),
    (
        "data-dependent expression Eq(u12, 1) (unhinted: Eq(u12, 1)). (Size-like symbols: u3, u1)",
        "data-dependent expression u0 > 4 (unhinted: u0 > 4). (Size-like symbols: none)",
        "data-dependent expression <expression>",
    ),
    (
        "Provider_10241787366208746778_0 failed in 1f6c9d1e-0000-4abc-9def-0123456789ab",
        "Provider_355075996962310751_12 failed in 00000000-1111-2222-3333-444444444444",
        "Provider_<n> failed in <address>",
    ),
    (
        "no blob 9f86d081884c7d659a2feaa0c55ad015 there",
        "no blob a3bf4f1b2b0b822cd15d6c15b0f00a08 there",
        "no blob <address> there",
    ),
    (
        "[CPU] Add node with name '__module.module.embeddings/aten::add/Add' failed",
        "[CPU] Add node with name '__module.layers.0/aten::add/Add_3' failed",
        "[CPU] Add node with name <name> failed",
    ),
    ("at 07:16:19.5, dim:8", "at 23:59:01, dim:-12", "at <n>, dim:<n>"),
    ("tried to get 20.00 MiB of 1,024kB", "tried to get 3 MiB of 12kB", None),
    ("needs 4.57.6, has 5.0", "needs 1.2.*, has 10.20.30", "needs <n>, has <n>"),
    (
        "missing: encoder.pooler.weight, head.bias",
        "missing: a.b.c.weight, d.e.bias, layers.3.k.weight",
        "missing: <parameter>",
    ),
    (
        "'BertModel' object has no attribute 'rope' or 'thing 1'",
        "'GPTModel' object has no attribute 'rope' or 'thing 22'",
        "'<Model>' object has no attribute 'rope' or <name>",
    ),
    ("file:///home/me/x.xml is gone", "file:///tmp/tmpab12/y.xml is gone", "<link> is gone"),
]


@pytest.mark.parametrize(("one", "other", "expected"), SAME)
def test_what_is_particular_to_a_model_goes(one: str, other: str, expected: str | None) -> None:
    assert normalise(one) == normalise(other)
    if expected is not None:
        assert normalise(one) == expected


DIFFERENT = [
    ("No module named 'timm'", "No module named 'natten'"),
    ("'<Config>' object has no attribute 'a'", "'<Config>' object has no attribute 'b'"),
    (
        "no conversion rule for aten::linalg_solve_triangular",
        "no conversion rule for aten::scatter",
    ),
    ("aten::avg_pool2d", "aten::avg_pool3d"),
    ("expected scalar type Float but found Half", "expected scalar type Float but found BFloat16"),
    ("Tile of dynamic rank", "Gather of dynamic rank"),
    ("requires ['timm']", "requires ['natten']"),
    ("on input 'base': x: relative error 1", "on input 'other': x: relative error 1"),
    ("x: relative error 1", "x: expected shape (1,), got (2,)"),
    ("[CPU] Add node with name 'a/b'", "[CPU] Split node with name 'a/b'"),
    ("the mxfp4 dtype", "the int4 dtype"),
    ("Eq(u0, 1) is not known", "Gt(u0, 1) is not known"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_names_the_fault_stays(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize("word", ["float64", "int8", "123abc", "conv2d", "x86_64"])
def test_names_with_digits_stay(word: str) -> None:
    assert normalise(f"no {word} here") == f"no {word} here"


def test_the_entrys_own_names_go() -> None:
    one = fingerprint("KeyError", "qwen3-next has no export", [], ["qwen3_next", "Qwen3-Next"])
    other = fingerprint("KeyError", "bert has no export", [], ["bert"])
    assert one == other == "KeyError: <model> has no export"
    assert normalise("albert and bert", ["bert"]) == "albert and <model>"


#: Kinds of things that a message names, each with what it may say from model to model.
VARIABLE: dict[str, st.SearchStrategy[str]] = {
    "number": st.integers(-(10**9), 10**9).map(str) | st.floats(-1e9, 1e9).map(repr),
    "shape": st.lists(st.integers(1, 4096), min_size=2, max_size=6).map(str),
    "tuple": st.lists(st.integers(1, 4096), min_size=1, max_size=6).map(lambda dims: str((*dims,))),
    "address": st.integers(0, 2**64).map(hex),
    "path": st.from_regex(r"(/[a-z0-9_.]{1,12}){2,5}", fullmatch=True),
    "parameter": st.from_regex(r"encoder(\.[a-z_]{1,9}\.[0-9]{1,2}){1,3}\.weight", fullmatch=True),
    "set": st.sets(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), min_size=2, max_size=5).map(str),
    "output": st.from_regex(
        r"[a-z_]{1,12}(\.[a-z_0-9]{1,12}){0,2}: relative error 1", fullmatch=True
    ),
}


@pytest.mark.parametrize("kind", VARIABLE)
@given(data=st.data())
def test_whatever_is_particular_to_a_model_makes_one_cause(kind: str, data: st.DataObject) -> None:
    one, other = data.draw(VARIABLE[kind]), data.draw(VARIABLE[kind])
    template = "on input 'base': {}" if kind == "output" else "cannot run {} here, in prepare"
    assert normalise(template.format(one)) == normalise(template.format(other))


def test_the_innermost_frame_of_a_library_is_named() -> None:
    frames = [
        frame("/work/harness/cell.py", "run"),
        frame(f"{SITE}/transformers/models/bert/modeling_bert.py", "forward"),
        frame(f"{SITE}/torch/nn/modules/linear.py", "forward"),
        frame(f"{SITE}/torch/nn/modules/module.py", "_call_impl"),
        frame("/work/backends/_torch.py", "hook"),
    ]
    assert fingerprint("RuntimeError", "no", frames) == (
        "RuntimeError: no @ torch.nn.modules.linear:forward"
    )
    assert fingerprints.place(frames[:2]) == "transformers.models.<model>.modeling_<model>:forward"
    assert (
        fingerprints.place([frame(f"{SITE}/openvino/__init__.py", "compile")]) == "openvino:compile"
    )
    assert fingerprints.place([frame("C:\\v\\Lib\\site-packages\\a\\b.py", "f")]) == "a.b:f"


def test_the_standard_library_counts_only_where_the_fault_lies_in_it() -> None:
    inside = frame("/usr/lib/python3.11/ctypes/__init__.py", "string_at")
    outside = frame("/work/backend.py", "run")
    assert fingerprints.place([outside, inside]) == "ctypes:string_at"
    assert fingerprints.place([inside, outside]) == ""
    assert fingerprints.place([]) == ""


def test_an_installed_harness_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "PACKAGE", Path(SITE, "hf_hardware_matrix"))
    own = frame(str(Path(SITE, "hf_hardware_matrix", "cell", "stages.py")), "run")
    library = frame(f"{SITE}/openvino/__init__.py", "compile")
    assert fingerprints.place([own]) == ""
    assert fingerprints.place([own, library, own]) == "openvino:compile"


def test_a_caught_exception() -> None:
    with pytest.raises(ValueError, match="odd") as caught:
        raise ValueError("\n  \n=====\nodd size 3\nmore")
    assert fingerprints.of(caught.value) == "ValueError: odd size <n>"


def test_an_empty_message() -> None:
    assert fingerprint("MemoryError", "", []) == "MemoryError"


def test_long_messages_are_cut() -> None:
    text = fingerprint("E", "word " * 1000, [])
    assert len(text) < fingerprints.LIMIT + 10
    assert text.endswith("...")


FATAL = """\
noise
Fatal Python error: Segmentation fault

Thread 0x00007f1 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait

Current thread 0x00007f2 [main] (most recent call first):
  File "/venv/lib/python3.11/site-packages/openvino/ie_api.py", line 543 in compile_model
  File "/work/backends/openvino/backend.py", line 20 in prepare

Extension modules: numpy.core (total: 1)
"""
TIMEOUT = """\
Timeout (0:00:02)!
Thread 0x00007f1 (most recent call first):
  File "/work/harness/child.py", line 9 in watch
Thread 0x00007f2 (most recent call first):
  File "/work/a.py", line 1 in inner
  File "/work/a.py", line 2 in outer
"""


def test_the_stack_of_a_crash_is_read() -> None:
    frames = faulthandler_frames(FATAL)
    assert [f.name for f in frames] == ["prepare", "compile_model"]
    assert fingerprints.place(frames) == "openvino.ie_api:compile_model"


def test_the_stack_of_a_timeout_is_the_main_threads() -> None:
    assert [f.name for f in faulthandler_frames(TIMEOUT)] == ["outer", "inner"]
    assert faulthandler_frames("nothing of the kind") == []


@given(st.text(max_size=300))
def test_any_text_becomes_one_line_and_stays_the_same(text: str) -> None:
    once = normalise(text)
    assert "\n" not in once
    assert len(once) <= fingerprints.LIMIT


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ("=====\n\n  no kernel for it \nmore", "no kernel for it"),
        ("Exception from src/a.cpp:224:\nException from b.cpp:7:\n[CPU] Reshape", "[CPU] Reshape"),
        ("Exception from src/a.cpp:224:", "Exception from src/a.cpp:224:"),
        ("Exception from a kernel: 7", "Exception from a kernel: 7"),
    ],
)
def test_the_line_that_says_what_happened(message: str, line: str) -> None:
    assert fingerprints.telling_line(message) == line
