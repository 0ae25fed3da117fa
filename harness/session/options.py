"""Options of a run, read from pytest's command line and checked."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import InvalidRequirement

from harness.catalog import backend_spec
from harness.catalog.chosen_lists import OURS, ChosenLists, chosen
from harness.cell.request import DEFAULT, SEED, TINY
from harness.cluster.address import ClusterOptions, address_of
from harness.contract import HarnessError
from harness.environments.pins import apart, package_of
from harness.session.configuration import asked
from harness.session.pretrained import BESIDE, SEEDED, Pretrained, pretrained_of
from harness.toolkit import hardware
from harness.toolkit.checkout import results_folder
from harness.toolkit.process_memory import MB
from harness.toolkit.toml_file import cut
from harness.workers.limits import Limits
from harness.workers.settings import cores

#: The most that limits may say: eleven days, a petabyte. Beyond, timers and addresses overflow.
MOST_SECONDS, MOST_MB = 1e6, 1e9
#: The largest seed that every generator of random numbers takes.
MOST_SEED = 2**32 - 1

#: Seconds of a cell with a checkpoint from the hub, and the share of the machine's memory that all
#: such cells at once may add.
REAL_SECONDS, MEMORY_SHARE = 900.0, 0.8

#: How often a cell is run again at most.
MOST_REPEATS = 100

#: Seconds that a measured cell may take where `--timeout` says nothing: warm-ups and rounds come on
#: top of the checks.
MEASURED_SECONDS = 600.0

#: Options of pytest that choose an order of the cells, or go on where one ended.
ORDERS = ("failedfirst", "newfirst", "stepwise")

#: Options that are passed on to the backend, as pytest names them.
PASSED_ON = ("device", "fallback", "soc", "skip_rewrite", "ep_library", "ep", "import")
#: Those that may be given several times, and reach the backend joined by newlines.
PASSED_ON_LISTS = ("ep_option",)


def add_passed_on(parser: argparse.ArgumentParser) -> None:
    """Give a command the options of a session that only backends read."""
    for name in PASSED_ON:
        parser.add_argument(f"--{name.replace('_', '-')}", default="", help="as in a session")
    for name in PASSED_ON_LISTS:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, action="append", default=[], help="as in a session")


def passed_on(args: argparse.Namespace) -> dict[str, str]:
    """The options that `add_passed_on` added, those that were given."""
    named = {name: getattr(args, name) for name in PASSED_ON}
    named |= {name: "\n".join(getattr(args, name)) for name in PASSED_ON_LISTS}
    return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a run; `options_of` reads them from pytest's command line."""

    backend: str
    models: str = ""  # subsets, families or entries; empty: those of backend.toml, else all
    precisions: tuple[str, ...] = ("default",)  # ("all",): every one that the backend has
    heads: str = ""  # base, tasks, all or names of tasks; empty: those of backend.toml
    size: str = TINY
    checks: str = DEFAULT  # or deep
    seed: int = SEED
    limits: Limits = field(default_factory=Limits)
    workers: int = field(default_factory=cores)
    own_limits: bool = False  # whether cells have limits on time by what they took before
    as_given: bool = False  # whether cells start in pytest's order, which a user chose
    shard: tuple[int, int] = (1, 1)
    durations: Path | None = None  # by which shards are split
    changed: bool = False  # whether cells are left out whose result nothing has changed
    changed_since: str = ""  # the commit from which a change is told by git
    repeat: int = 0  # how often a cell is run again that fails
    measure: bool = False  # whether speed is measured, one cell at a time
    localise: bool = False  # whether the failing part of a cell that fails is searched for
    checkpoints: Path | None = None  # real weights, as ORGANISATION/NAME below it
    pretrained: Pretrained | None = None  # real weights, from the hub
    cluster: ClusterOptions | None = None  # whose nodes run the cells; None: this machine
    backend_options: Mapping[str, str] = field(default_factory=dict)
    results: Path = field(default_factory=results_folder)
    instead: tuple[str, ...] = ()  # requirements that the environment has in place of its pins
    backends: Path = backend_spec.BACKENDS
    lists: ChosenLists = field(default_factory=ChosenLists)
    arguments: tuple[str, ...] = ()

    @property
    def size_of_models(self) -> str:
        """`tiny`, `wide` or `full`, or `checkpoint` for real weights, whose size is their own."""
        real = self.pretrained is not None or self.checkpoints is not None
        return "checkpoint" if real else self.size


def options_of(config: pytest.Config, backend: str) -> Options:
    """The options of a run on a backend, read from pytest's command line and checked.

    Raises:
        HarnessError: a value is out of its range or of the wrong form.
    """

    def given(name: str, default: Any) -> Any:
        value = config.getoption(name)
        return default if value is None else value

    faults = given("fault", [])
    for fault in faults:
        if not re.fullmatch(r"[\w-]+=\w+", fault):
            raise HarnessError(
                f"expected --fault KIND=ENTRY, as in crash=bert, found {fault!r}. Fix: write it so"
            )
    named = {name: given(name, "") for name in PASSED_ON}
    named |= {name: "\n".join(given(name, [])) for name in PASSED_ON_LISTS}
    named["fault"] = ",".join(faults)
    named["cache"] = "off" if config.getoption("no_cache") else ""
    beside = {name: config.getoption(name) for name in BESIDE}
    weights = given("weights", SEEDED)
    pretrained = pretrained_of(beside, weights, given("checkpoints", None))
    measured = bool(config.getoption("measure"))
    alone = measured or pretrained is not None
    workers = cells_at_once(given("workers", "1" if alone else "auto"))
    _check_alone(workers, measured=measured)
    if config.getoption("update_expectations"):
        _check_updatable(
            {
                "--size": (given("size", TINY), TINY),
                "--checks": (given("checks", DEFAULT), DEFAULT),
                "--seed": (given("seed", SEED), SEED),
                "--weights": (weights, SEEDED),
            }
        )
    usual = Limits() if pretrained is None else limits_of_real_models(workers)
    seconds = max(usual.seconds, MEASURED_SECONDS) if measured else usual.seconds
    limits = Limits(
        _within("--timeout", given("timeout", seconds), MOST_SECONDS, "s"),
        int(_within("--memory", given("memory", usual.memory_mb), MOST_MB, "MB")),
    )
    default = Options(backend)
    instead = _requirements(given("with", []))
    repro = given("repro", "")
    return Options(
        backend=backend,
        models=repro or given("models", ""),
        precisions=_precisions(given("precision", "")) or default.precisions,
        heads=given("heads", ""),
        checkpoints=_folder("--checkpoints", given("checkpoints", None)),
        pretrained=pretrained,
        size=given("size", default.size),
        checks=given("checks", default.checks),
        seed=_seed(given("seed", default.seed)),
        limits=limits,
        workers=workers,
        own_limits=config.getoption("timeout") is None and not measured,
        as_given=any(_is_on(config, name) for name in ORDERS),
        shard=_shard(given("shard", "1/1")),
        durations=given("durations_file", None),
        changed=bool(config.getoption("changed")) and not repro,
        changed_since="" if repro else _revision(given("changed_since", None)),
        repeat=_repeat(given("repeat", 0), repro),
        measure=measured,
        localise=bool(config.getoption("localise")),
        cluster=_cluster(config, instead),
        backend_options={name: value for name, value in named.items() if value},
        instead=instead,
        results=given("results", results_by_default(instead)).resolve(),
        backends=given("backends_dir", default.backends).resolve(),
        lists=chosen(str(config.getoption("lists") or OURS)),
        arguments=asked(config.invocation_params.args),
    )


def _cluster(config: pytest.Config, instead: Sequence[str]) -> ClusterOptions | None:
    """The cluster that runs the cells, where one is named.

    Raises:
        HarnessError: the address is wrong, or another option means this machine.
    """
    text = config.getoption("cluster")
    if text is None:
        return None
    weights = config.getoption("weights") not in (None, SEEDED)
    beside = {
        "--measure": (config.getoption("measure"), "it measures one machine, with nothing beside"),
        "--repro": (config.getoption("repro"), "it runs an entry in this process"),
        "--localise": (config.getoption("localise"), "it searches on this machine"),
        "--weights pretrained": (weights, "it downloads to this machine"),
        "--with": (instead, "nodes make their environments from the lock"),
    }
    for option, (given, reason) in beside.items():
        if given:
            raise HarnessError(
                f"expected --cluster or {option}, found both, and {reason}. Fix: leave out either"
            )
    workers = config.getoption("workers")
    slots = 0 if workers in (None, "auto", "logical") else cells_at_once(workers)
    return ClusterOptions(address_of(text), slots)


def limits_of_real_models(workers: int) -> Limits:
    """The limits of a cell with a checkpoint from the hub: a share of the machine, and more time.

    Args:
        workers: how many cells run at once.
    """
    memory = hardware.cpu().memory_bytes
    share = Limits().memory_mb if memory is None else int(memory * MEMORY_SHARE / workers / MB)
    return Limits(REAL_SECONDS, share)


def comma_separated(text: str) -> tuple[str, ...]:
    """The items of a list separated by commas, each once, in order."""
    return tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


def _is_on(config: pytest.Config, name: str) -> bool:
    """Whether an option of a plugin of pytest is given, which may not be loaded."""
    try:
        return bool(config.getoption(name))
    except ValueError:
        return False


def _folder(option: str, path: Path | None) -> Path | None:
    if path is not None and not path.is_dir():
        raise HarnessError(f"expected {option} to name a folder, found {path}. Fix: correct it")
    return path.resolve() if path is not None else None


def _requirements(texts: Sequence[str]) -> tuple[str, ...]:
    for text in texts:
        try:
            package_of(text)
        except InvalidRequirement as error:
            raise HarnessError(
                f"expected --with to name a requirement, as in transformers==5.22.0, found "
                f"{cut(text)}: {error}. Fix: correct it"
            ) from None
    return tuple(texts)


def _within(option: str, value: float, most: float, unit: str) -> float:
    if not 0 < value <= most:  # not a number is neither
        fix = "raise it" if value <= 0 else "choose one in between"
        raise HarnessError(
            f"expected {option} to be above 0 {unit} and at most {most:g} {unit}, found "
            f"{cut(str(value))}. Fix: {fix}"
        )
    return value


def _seed(value: int) -> int:
    if not 0 <= value <= MOST_SEED:
        raise HarnessError(
            f"expected --seed to be a number from 0 to {MOST_SEED}, found {cut(str(value))}. "
            "Fix: choose one in between"
        )
    return value


def _revision(text: str | None) -> str:
    if text is not None and not text.strip():
        raise HarnessError(
            "expected --changed-since to name a branch, tag or commit, found an empty name. Fix: "
            "name one, as in --changed-since origin/main"
        )
    return text or ""


def _repeat(value: int, repro: str) -> int:
    if not 0 <= value <= MOST_REPEATS:
        raise HarnessError(
            f"expected --repeat to be a number from 0 to {MOST_REPEATS}, found {cut(str(value))}. "
            "Fix: choose one in between"
        )
    if value and repro:
        raise HarnessError(
            "expected --repeat or --repro, found both, and --repro runs an entry once, in this "
            "process. Fix: leave out either"
        )
    return value


def _precisions(text: str) -> tuple[str, ...]:
    """The names of precisions, or `all` alone."""
    names = comma_separated(text)
    if "all" in names and len(names) > 1:
        raise HarnessError(
            f"expected --precision to be all, or names of precisions, found {text!r}. "
            "Fix: leave out either"
        )
    return names


def cells_at_once(text: str) -> int:
    """How many cells run at once; what pytest-xdist's `-n` takes means here what it means there."""
    if text in ("auto", "logical"):
        return cores()
    if not re.fullmatch(r"\d{1,4}", text):
        raise HarnessError(
            f"expected -n to be a number of cells that run at once, or auto, found {text!r}. "
            f"Fix: -n auto, which is -n {cores()} on this machine"
        )
    return max(1, int(text))


def _check_alone(workers: int, *, measured: bool) -> None:
    """Refuse several cells at once where speed is measured: each would disturb the others' times.

    Raises:
        HarnessError: they were asked for.
    """
    if measured and workers > 1:
        raise HarnessError(
            f"expected one cell at a time beside --measure, found -n {workers}: they would disturb "
            "each other's times. Fix: leave -n out"
        )


def _check_updatable(given: Mapping[str, tuple[object, object]]) -> None:
    """Refuse to rewrite expectations, which are about tiny models, after a run of others.

    Args:
        given: the value of an option, and the only one that serves, by its name.

    Raises:
        HarnessError: they would lose rows whose failures such a run does not show.
    """
    asked = [f"{option} {value}" for option, (value, plain) in given.items() if value != plain]
    if asked:
        raise HarnessError(
            "expected --update-expectations with the tiny models, checks and seed that are the "
            f"default, found {', '.join(asked)}: rows that it does not show would be lost. Fix: "
            "leave it out, and write what the deep checks alone find by hand, with "
            'checks = "deep"'
        )


def results_by_default(instead: Sequence[str]) -> Path:
    """The folder of the results where `--results` names no other one.

    Args:
        instead: requirements that the environment has in place of its pins: those lie apart.
    """
    return (results_folder() / apart(instead)).resolve()


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise HarnessError(
            f"expected --shard I/N with I from 1 to N, as in 2/4, found {text!r}. Fix: write it so"
        )
    return int(match[1]), int(match[2])
