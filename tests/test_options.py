"""Options of a run: a value out of its range is a usage error, whatever it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import plugin
from harness.contract import HarnessError
from harness.session.options import options_of


def config(words: list[str]) -> Any:
    """The configuration that pytest makes of a command line, as far as options are read from it."""
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser)
    known = parser.parse_known_args(words)

    def getoption(name: str) -> Any:
        if not hasattr(known, name):
            raise ValueError(f"no option named {name!r}")  # as pytest does
        return getattr(known, name)

    return SimpleNamespace(getoption=getoption, invocation_params=SimpleNamespace(args=words))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--timeout=inf", "--timeout to be above 0 s and at most 1e[+]06 s, found inf"),
        ("--timeout=nan", "--timeout .*found nan"),
        ("--timeout=-1", "--timeout .*found -1.0. Fix: raise it"),
        ("--timeout=0", "--timeout"),
        ("--timeout=1e7", "--timeout"),
        ("--memory=9223372036854", "--memory to be above 0 MB .*found 9223372036854"),
        ("--memory=0", "--memory"),
        (f"--memory={'9' * 4000}", "--memory .*found 9+[.][.][.]. Fix"),
        ("--seed=-1", "--seed to be a number from 0 to 4294967295, found -1"),
        (f"--seed={2**32}", "--seed"),
        ("--precision=all,default", "--precision to be all, or names of precisions"),
        ("--shard=0/2", "--shard"),
        ("--checkpoints=/no/such/folder", "--checkpoints to name a folder"),
    ],
    ids=lambda value: value[:30],
)
def test_a_value_out_of_its_range_is_refused(word: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message) as error:
        options_of(config([word]), "good")
    assert "Fix: " in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("words", [["--size", "wide"], ["--checks", "deep"], ["--seed", "7"]])
def test_expectations_are_rewritten_from_tiny_models_alone(words: list[str]) -> None:
    options_of(config(words), "good")
    with pytest.raises(HarnessError, match=f"found {' '.join(words)}: rows .* would be lost"):
        options_of(config([*words, "--update-expectations"]), "good")


@pytest.mark.parametrize("option", ["results", "lists", "backends-dir", "checkpoints"])
def test_an_empty_path_is_not_the_working_directory(option: str) -> None:
    with pytest.raises(pytest.UsageError, match="expected a folder, found an empty name"):
        config([f"--{option}="])


def test_what_is_in_range_is_taken(tmp_path: Path) -> None:
    words = ["--timeout=0.5", "--memory=1", "--seed=4294967295", "--precision=f32, bf16,f32"]
    options = options_of(config([*words, f"--results={tmp_path}"]), "good")
    assert (options.limits.seconds, options.limits.memory_mb) == (0.5, 1)
    assert (options.seed, options.precisions) == (4294967295, ("f32", "bf16"))
    assert options.results == tmp_path
    assert options_of(config(["--precision=all"]), "good").precisions == ("all",)
