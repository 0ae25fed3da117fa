"""Facts of a node that its results follow from: code, pins, packages, processor and Python.

A node whose facts differ from those of the session is refused: its results would be those of
another program, or with other roundings.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

from harness.catalog.backend_spec import BackendSpec
from harness.cluster.messages import NodeFacts
from harness.environments.locks import name_of
from harness.toolkit import machine
from harness.toolkit.checkout import DIRTY, PACKAGE, ROOT, git_commit

#: Files that a run reads, by the ends of their names.
READ = (".py", ".toml", ".txt", ".c", ".jinja")

#: Files that no process of a node reads, or that have a digest of their own.
LEFT_OUT = ("requirements.txt", "expectations.toml")

#: How many packages that differ a message names.
NAMED = 3


def facts_of(spec: BackendSpec) -> NodeFacts:
    """The facts of this process's machine, checkout and environment.

    Args:
        spec: the backend's folder.
    """
    found = machine.machine()
    processor = found["processor"]
    assert isinstance(processor, tuple)
    return NodeFacts(
        host=platform.node(),
        checkout=str(ROOT),
        commit=git_commit(),
        code=_code(spec),
        lock=_digest(spec.lock),
        packages=installed(),
        processor=processor,
        python=platform.python_version(),
    )


def machine_of(node: NodeFacts | None) -> Mapping[str, object]:
    """The machine that results follow from (`harness.toolkit.machine`): a node's, or this one.

    A node's agent has this process's choice of kernels.
    """
    here = machine.machine()
    if node is None:
        return here
    return {**here, "processor": node.processor, "python": node.python}


def difference(session: NodeFacts, node: NodeFacts, name: str) -> str:
    """Why a node cannot serve a session: expected, found and fix; empty where it can.

    Args:
        session: the facts of the session's own process.
        node: those of the node, whose processor is another matter (`other_processor`).
        name: the backend's session.
    """
    where = f"in {node.checkout}"
    make = f"nox -s {name} --install-only {where} of that node"
    if node.code != session.code:
        fix = _fix_of_code(session, node)
        return (
            f"expected the code of this session ({_version(session)}), found another {where} "
            f"({_version(node)}). Fix: {fix}"
        )
    if node.lock != session.lock:
        return (
            f"expected the pins of this session in backends/{name.replace('-', '_')}"
            f"/requirements.txt, found others {where}. Fix: copy that file, then {make}"
        )
    if node.python.split(".")[:2] != session.python.split(".")[:2]:
        return (
            f"expected Python {session.python} as in this session, found {node.python}. Fix: make "
            f"the environment with that Python: {make}"
        )
    if others := _other_packages(session.packages, node.packages):
        return (
            f"expected the packages of this session, found {others}. Fix: {make}; for an image "
            "with an environment of its own, build the image from these pins"
        )
    return ""


def other_processor(wanted: NodeFacts, node: NodeFacts) -> str:
    """Why the processor of a node does not fit: expected, found and fix; empty where it does.

    References are computed on the node's processor, so that all of a run are of one kind.
    """
    if node.processor == wanted.processor:
        return ""
    mine, its = _processor_name(wanted.processor), _processor_name(node.processor)
    if mine == its:
        lacks = _flags(wanted.processor) ^ _flags(node.processor)
        its = f"it with other instruction sets ({', '.join(sorted(lacks)[:NAMED]) or 'unnamed'})"
    return (
        f"expected processors of one kind in a run, {mine} as on {wanted.host}, found {its}. "
        "Fix: a cluster, or a partition, of one kind; the others can run another shard, as in "
        "--shard 2/2"
    )


def installed() -> dict[str, str]:
    """The installed versions of all distributions, by normalized name."""
    found: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.name
        if name:
            found.setdefault(name_of(name), distribution.version)
    return dict(sorted(found.items()))


def _other_packages(session: Mapping[str, str], node: Mapping[str, str]) -> str:
    names = sorted(name for name in {*session, *node} if session.get(name) != node.get(name))
    told = [
        f"{name} {node.get(name, 'absent')} in place of {session.get(name, 'none')}"
        for name in names[:NAMED]
    ]
    more = len(names) - len(told)
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _fix_of_code(session: NodeFacts, node: NodeFacts) -> str:
    clean = session.commit and not session.commit.endswith(DIRTY)
    if clean and node.commit:
        commit = session.commit
        return f"git -C {node.checkout} fetch && git -C {node.checkout} checkout {commit}"
    return f"rsync -a --exclude .nox --exclude results {session.checkout}/ NODE:{node.checkout}/"


def _version(facts: NodeFacts) -> str:
    commit = f"commit {facts.commit[:12]}" if facts.commit else "no commit"
    dirty = " with changes" if facts.commit.endswith(DIRTY) else ""
    return f"{commit}{dirty}, digest {facts.code[:12]}"


def _processor_name(processor: Sequence[str]) -> str:
    for line in processor:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return " ".join(filter(None, processor)) or "an unknown one"


def _flags(processor: Sequence[str]) -> set[str]:
    return {word for line in processor for word in line.partition(":")[2].split()}


def _code(spec: BackendSpec) -> str:
    """SHA-256 of all files that a run of a backend reads, with their names."""
    found = hashlib.sha256()
    shared = spec.folder.parent / "_shared"
    lists = ROOT / "model_lists"
    for label, folder in (
        ("harness", PACKAGE),
        ("backend", spec.folder),
        ("shared", shared),
        ("lists", lists),
    ):
        for path in _files(folder):
            inner = path.relative_to(folder).as_posix()
            data = hashlib.sha256(path.read_bytes()).hexdigest()
            found.update(f"{label} {inner} {data}\n".encode())
    return found.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        read = path.suffix in READ and path.name not in LEFT_OUT
        if read and "__pycache__" not in path.parts and path.is_file():
            yield path


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
