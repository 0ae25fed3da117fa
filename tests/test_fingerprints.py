"""The same fault in forty models is one cause, and different faults are not."""

from __future__ import annotations

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
