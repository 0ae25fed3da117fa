"""The exception of a failed export, and the innermost cause of an exception in one line."""

from __future__ import annotations

from harness.toolkit import fingerprints


class ExportFailed(Exception):
    """No way of export led to a right program; the message has the cause of each."""


def innermost_cause(error: BaseException) -> str:
    """The innermost cause of an error in one line: exporters wrap what went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = fingerprints.telling_line(unconverted(str(error)) or str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def unconverted(message: str) -> str:
    """The operators that OpenVINO has no conversion for, as its message ends; empty of others."""
    return message.partition("Summary:\n")[2].strip().removeprefix("-- ")
