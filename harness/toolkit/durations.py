"""Durations in words, from hundredths of a millisecond to hours."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A duration in words: `0.42 ms`, `12 ms`, `3.4 s`, `12 s`, `2 min 05 s`, `1 h 05 min`.

    Below a minute the number has two significant digits, or all those before the point.
    """
    if not seconds:
        return "0 s"
    if seconds < 0.9995:
        return f"{digits(seconds * 1e3)} ms"
    if seconds < 59.5:
        return f"{digits(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def digits(value: float) -> str:
    """A number of at least 0 in two significant digits or more, without an exponent."""
    if value >= 9.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"
