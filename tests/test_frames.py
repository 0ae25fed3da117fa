"""Frames: whatever a child sends is data that fits the schema, or an error that says why not."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cell.request import DeviceReport
from harness.contract import CellFailure, CellResult, Device, Metric, Outcome, Precision, Stage
from harness.workers.frames import FrameError, decode, encode
from harness.workers.messages import Entering, Message, Raised, Ready, Returned, Usage

USAGE = Usage(1.5, None)
FAILURE = CellFailure(Stage.VERIFY, Outcome.FAIL, "wrong", "CheckFailed: wrong", "Traceback ...")
RESULT = CellResult(
    "bert", "encoder-only", "bert", "base", "f32", Stage.VERIFY, Outcome.FAIL,
    seconds=2, device_share=1.0, metrics=[Metric("load", 0.5, "s"), Metric("bad", math.inf, "1")],
    further=[FAILURE],
)  # fmt: skip
DEVICE = Device("Fake", "npu", {"sdk": "1.0"}, memory_bytes=10**10, units=("npu:0", "npu:1"))
MESSAGES: list[Message] = [
    Ready(True),
    Entering(Stage.RUN),
    Entering(Stage.GENERATE, (FAILURE,)),
    Returned(RESULT, USAGE),
    Returned(DeviceReport(DEVICE, (Precision("default", "float32", 2.0),)), Usage(0.1, 20.0)),
    Returned({"a": [1, None, "x", True]}, USAGE),
    Raised("RuntimeError", "odd\nvalue", "Traceback ...", "RuntimeError: odd", USAGE),
]


@pytest.mark.parametrize("message", MESSAGES, ids=range(len(MESSAGES)))
def test_messages_cross(message: Message) -> None:
    assert decode(encode(message)) == message


def test_numbers_that_are_none_cross() -> None:
    odd = Returned(dataclasses.replace(RESULT, score=math.nan, noise_floor=-math.inf), USAGE)
    returned = decode(encode(odd))
    assert isinstance(returned, Returned)
    assert math.isnan(returned.value.score)
    assert returned.value.noise_floor == -math.inf


def test_nothing_is_unpickled() -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return exec, ("raise SystemExit('it ran')",)

    with pytest.raises(FrameError, match="expected JSON"):
        decode(pickle.dumps(Runs()))


def frame(name: str, value: Any) -> bytes:
    return json.dumps([name, value]).encode()


def result(**changes: Any) -> bytes:
    name, message = json.loads(encode(Returned(RESULT, USAGE)))
    message["value"][1].update(changes)
    return frame(name, message)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", "expected JSON, found b''"),
        (b"\xff\xfe\x00", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"{}", "message: expected a list of a name and a value, found {}"),
        (b'[["Ready"], 1]', "message: expected a list of a name and a value"),
        (frame("Request", {}), "message: expected one of Ready, Entering, Returned, Raised, found"),
        (frame("Ready", {}), "Ready: expected the fields leads_group, found {}"),
        (frame("Ready", {"leads_group": 1}), "Ready.leads_group: expected true or false, found 1"),
        (frame("Ready", {"leads_group": True, "more": 1}), "expected the fields leads_group, foun"),
        (frame("Entering", {"stage": None, "failures": []}), "Entering.stage: expected one"),
        (frame("Entering", {"stage": ["run"], "failures": []}), "expected one of build, inputs"),
        (frame("Returned", {"value": ["Path", "x"], "usage": {}}), "expected one of CellResult, C"),
        (result(outcome="great"), "CellResult.outcome: expected one of pass"),
        (result(outcome=None), "CellResult.outcome: expected one of pass"),
        (result(reason=None), "CellResult.reason: expected text, found null"),
        (result(reason=5), "CellResult.reason: expected text, found 5"),
        (result(seconds="1"), "CellResult.seconds: expected a number, found '1'"),
        (result(seconds=10**400), "CellResult.seconds: expected an integer of 64 bits, found more"),
        (result(parameters=1.5), "CellResult.parameters: expected an integer, found 1.5"),
        (result(parameters=True), "CellResult.parameters: expected an integer, found True"),
        (result(parameters=-(2**63) - 1), "expected an integer of 64 bits"),
        (result(further=[{"stage": "run"}]), r"further\[0\]: expected the fields stage, outcome,"),
        (result(metrics={}), "CellResult.metrics: expected a list, found {}"),
        (result(metrics=[{"name": "a"}]), r"metrics\[0\]: expected the fields name, value, unit"),
        (result(error="x" * 1000, stage="x" * 1000), "found 'x{59}\\.\\.\\.$"),
        (b'["Entering", {"stage": ' + b"9" * 5000 + b"}]", "expected JSON|expected one of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_schema_is_named(sent: bytes, error: str) -> None:
    with pytest.raises(FrameError, match=error):
        decode(sent)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_any_json_is_a_message_or_a_named_error(value: Any) -> None:
    for sent in (json.dumps(value).encode(), frame("Raised", value), result(error=value)):
        with contextlib.suppress(FrameError):
            encode(decode(sent)).decode("ascii")


def test_text_is_storable_once_it_is_read() -> None:
    text = "caf\udce9 \ud83d"
    changed = dataclasses.replace(RESULT, reason=text, metrics=[Metric(text, 1.0, text)])
    for sent in (Returned(changed, USAGE), Returned({text: [text]}, USAGE)):
        read = decode(encode(sent))
        assert isinstance(read, Returned)
        assert "caf\\udce9 \\ud83d" in str(read.value).replace("\\\\", "\\")
        str(read.value).encode()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (lambda: None, "found builtins.function"),
        ({1: 2}, "found builtins.dict"),
        ({"a": [b"x"]}, "found builtins.bytes"),
        (dataclasses.replace(RESULT, reason=ValueError("x")), "found builtins.ValueError"),  # type: ignore[arg-type]
        (DeviceReport(DEVICE, (object(),)), "found builtins.object"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_no_data_is_refused_where_it_is_sent(value: Any, found: str) -> None:
    with pytest.raises(FrameError, match=found):
        encode(Returned(value, USAGE))
