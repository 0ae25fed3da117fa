"""Points of the contract that need no case: how a backend opens, and what it says of itself."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from harness.catalog import backends
from harness.cell import border
from harness.cell.conformance.finding import UncheckedError
from harness.cell.conformance.subject import Subject
from harness.contract import BrokenContract, Unavailable
from harness.toolkit.close_matches import misspelt

#: The kinds of devices that `Device.kind` names.
KINDS = ("cpu", "gpu", "npu")

#: Members that a backend need not have, and how many arguments each is called with; None of a flag.
OPTIONAL: Mapping[str, int | None] = {
    "case": 4,
    "narrowed": 1,
    "from_pretrained": 3,
    "pipeline": 2,
    "generator": 2,
    "memory": 0,
    "meter": 0,
    "exported": 4,
    "on_threads": 1,
    "dynamic": None,
    "any_arguments": None,
}

#: Members that every backend has, and how many arguments each is called with.
REQUIRED: Mapping[str, int] = {"probe": 0, "prepare": 2}


def opens(subject: Subject) -> str:
    """The backend opens twice, with no options but those of the command line."""
    first = subject.backend
    spec = backends.find(subject.job.cell.backend, subject.job.backends_dir)
    backends.load(spec, subject.job.options)
    return border.type_name(first)


def probe(subject: Subject) -> str:
    """`probe` returns a Device with a name, a kind and versions, the same one each time."""
    try:
        found = border.device(subject.backend.probe())
    except Unavailable as error:
        if not error.reason.strip() or not error.fix.strip():
            raise BrokenContract(
                "probe", "an Unavailable with its reason and its fix", "an empty one"
            ) from error
        raise
    if not found.name.strip():
        raise BrokenContract("probe", "a Device with a name", "an empty one")
    if found.kind not in KINDS:
        raise BrokenContract("probe", f"a Device.kind of {', '.join(KINDS)}", f"{found.kind!r:.40}")
    if not found.versions:
        raise BrokenContract("probe", "Device.versions with that of the SDK", "none")
    asked = subject.job.options.get("fallback", "")
    if found.fallback and not asked:
        raise BrokenContract(
            "probe", "no stand-in for the device unless --fallback asks", f"{found.fallback!r:.40}"
        )
    again = border.device(subject.backend.probe())
    if (again.name, again.kind) != (found.name, found.kind):
        raise BrokenContract(
            "probe", f"the same device again, {found.name}", f"{again.name} at the second call"
        )
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    return f"{found.name} ({found.kind}{', emulated' if found.emulated else ''}); {versions}"


def precisions(subject: Subject) -> str:
    """`precisions` has one called `default`, each with a dtype that has a noise floor."""
    found = border.precisions(subject.backend.precisions)
    for precision in found:
        border.known_dtype(precision)
    return ", ".join(f"{each.name} ({each.dtype})" for each in found)


def members(subject: Subject) -> str:
    """Each optional member is a method with the contract's arguments, or a flag."""
    backend = subject.backend
    for name, count in {**REQUIRED, **OPTIONAL}.items():
        member = getattr(backend, name, None)
        if count is None:
            border.flag(backend, name, otherwise=True)
        elif member is not None or name in REQUIRED:
            _check_method(name, member, count)
    known = {*REQUIRED, *OPTIONAL, "precisions"}
    for name in vars(type(backend)):
        meant = "" if name.startswith("_") else misspelt(name, known)
        if meant and not hasattr(backend, meant):
            raise BrokenContract("members", f"the optional member `{meant}`", f"`{name}`")
    has = [name for name in OPTIONAL if hasattr(backend, name)]
    return f"has {', '.join(has)}" if has else "has none of the optional members"


def _check_method(name: str, member: object, count: int) -> None:
    expected = f"{name} as a method that takes {count} arguments"
    if not callable(member):
        raise BrokenContract("members", expected, border.type_name(member))
    try:
        signature = inspect.signature(member)
    except ValueError:  # of code in C
        return
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        raise BrokenContract("members", expected, f"{name}{signature}: {error}") from error


def memory(subject: Subject) -> str:
    """`memory` returns bytes of the device, not below 0."""
    member = getattr(subject.backend, "memory", None)
    if member is None:
        raise UncheckedError("the backend has no memory()")
    subject.first  # noqa: B018  (a device that holds nothing yet says little)
    return f"{border.memory(member()) / 1e6:.1f} MB after an inference"


def meter(subject: Subject) -> str:
    """`meter` returns the device's state, or None."""
    member = getattr(subject.backend, "meter", None)
    if member is None:
        raise UncheckedError("the backend has no meter()")
    reading = border.meter(member())
    return "no library tells" if reading is None else f"{reading.others} other processes"
