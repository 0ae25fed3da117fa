"""Speed and memory of measured cells as rows of a table, and notes on doubtful ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.contract import MEASURED, CellResult
from harness.report import words
from harness.toolkit.durations import digits

#: Numbers of a cell that was measured, by name without `MEASURED`.
Numbers = Mapping[str, float]

#: The heads of the table.
HEADS = ("cell", "inference", "p95", "first call", "prepare", "memory", "rates", "times eager CPU")

#: The head of one more column, of wide models: the whole one was not run.
WHOLE = "whole model, predicted"

#: Names of rates, with the unit that is printed.
RATES: Mapping[str, str] = {
    "tokens": "tokens/s",
    "decode": "tokens/s decoded",
    "images": "images/s",
    "frames": "frames/s",
    "seconds of sound": "s of sound/s",
    "time steps": "steps/s",
}

#: A drift, a share of a core that others took, and a standard error beyond which a note is made.
DRIFT, TAKEN, NOISE = 1.25, 0.1, 0.1


def numbers(result: CellResult) -> dict[str, float]:
    """The numbers of a measured cell by name; empty where it was not measured."""
    return {
        metric.name.removeprefix(MEASURED): metric.value
        for metric in result.metrics
        if metric.name.startswith(MEASURED)
    }


def row(name: str, found: Numbers) -> list[str]:
    """A row of the table; an empty list for a cell without times."""
    if "median" not in found:
        return []
    return [
        name,
        words.seconds(found["median"]),
        words.seconds(found.get("p95")),
        words.seconds(found.get("first")),
        words.seconds(found.get("prepare")),
        words.megabytes(found.get("peak_memory")),
        rates(found),
        ratio(found),
        whole(found),
    ]


def table(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The rows under their heads; empty without any."""
    kept = [one for one in rows if one]
    if not any(one[-1] for one in kept):
        return [HEADS, *(one[:-1] for one in kept)] if kept else []
    return [(*HEADS, WHOLE), *kept]


def rates(found: Numbers) -> str:
    """Items a second: `18200 tokens/s, 779 tokens/s decoded`."""
    return ", ".join(
        f"{digits(found[name])} {unit}" for name, unit in RATES.items() if name in found
    )


def ratio(found: Numbers) -> str:
    """Time over that of the baseline with its interval: `1.06 (0.96 to 1.09)`; empty for none."""
    if "ratio" not in found:
        return ""
    low, high = found["ratio_low"], found["ratio_high"]
    return f"{found['ratio']:.2f} ({low:.2f} to {high:.2f})"


def whole(found: Numbers) -> str:
    """Predicted time and memory of the whole model: `45 ms (42 ms to 49 ms), 440 MB`."""
    if "predicted" not in found:
        return ""
    low, high = words.seconds(found["predicted_low"]), words.seconds(found["predicted_high"])
    memory = found.get("predicted_memory")
    told = f", {words.megabytes(memory)}" if memory is not None else ""
    return f"{words.seconds(found['predicted'])} ({low} to {high}){told}"


def doubts(found: Numbers) -> list[str]:
    """Sentences on what makes a measurement doubtful; none of a quiet one."""
    said = []
    if found.get("steady", 1.0) < 1.0:
        said.append("measured, and not steady: times still changed when the warm-up was over")
    drift = found.get("drift", 1.0)
    if not 1 / DRIFT <= drift <= DRIFT:
        said.append(
            f"measured, and drifting: its last inferences took {drift:.2f} times as long as its "
            "first ones"
        )
    if found.get("taken", 0.0) > TAKEN:
        said.append(
            f"measured beside others: they took {found['taken']:.0%} of a core, load average "
            f"{found.get('load_average', 0.0):.1f}. Fix: end them, and measure again"
        )
    if found.get("others", 0.0) > 0:
        said.append(
            f"measured beside {found['others']:.0f} other processes on the device. Fix: end them, "
            "and measure again"
        )
    if found.get("wall_noise", 0.0) > NOISE:
        said.append(
            f"measured, and noisy: the standard error of its time is {found['wall_noise']:.0%}"
        )
    return said
