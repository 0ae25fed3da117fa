"""Connection of a session with a cluster: its nodes, the kind of machine, and their cells.

Nodes say what they are before they get a cell. Those with other code, pins, packages or another
device than the session's, or with another processor than the first ones, are refused with the
reason. One thread hears all events; whoever waits for a device or an ending waits for that thread.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.catalog.backend_spec import BackendSpec
from harness.cell.request import DeviceReport
from harness.cluster import facts
from harness.cluster.address import ClusterOptions
from harness.cluster.cluster_node import ClusterNode, ClusterNotes
from harness.cluster.engine import BridgeProcess, Engine
from harness.cluster.listener import Listener
from harness.cluster.messages import MESSAGES, Declined, Ended, Hello, NodeFacts, Running
from harness.cluster.messages import Began as BeganCell
from harness.cluster.requests import AgentSettings, NodeTask, cells_line
from harness.contract import HarnessError, Unavailable
from harness.toolkit import printable
from harness.toolkit.checkout import INSTALLED, ROOT
from harness.toolkit.machine import KERNELS
from harness.toolkit.public_name import OWN
from harness.workers import frames
from harness.workers.settings import cores

#: Seconds without any node after which a session gives up.
PATIENCE = 60.0

#: Seconds that further nodes are given to answer, once the first has, before the session begins.
SETTLE = 10.0

#: Seconds that a node may take to answer: it may have to make its environment.
ANSWER = 3600.0

#: Seconds between two looks at the clock while no event comes.
TICK = 0.2


class Connection:
    """A session's connection with a cluster.

    Args:
        options: of the session.
        spec: the backend's folder.
        settings: of the agents, as far as they are the same for all.
        engine: None for that of a process of its own.

    Attributes:
        notes: on nodes that were refused or lost.
        error: why the cluster can be used no more; None while it can.
    """

    def __init__(
        self,
        options: ClusterOptions,
        spec: BackendSpec,
        settings: AgentSettings,
        engine: Engine | None = None,
    ) -> None:
        self.notes = ClusterNotes()
        self.error: HarnessError | None = None
        self._options = options
        self._spec = spec
        self._settings = settings
        self._engine = engine or BridgeProcess()
        self._own: NodeFacts | None = None
        self._nodes: dict[str, ClusterNode] = {}
        self._absences: list[Unavailable] = []
        self._kind: Hello | None = None  # that all nodes of the run are like
        self._first: float | None = None  # when the first node answered
        self._listener = Listener()
        self._connected = False
        self._alone_since = time.monotonic()
        self._state = threading.Condition(threading.RLock())
        self._stopping = False
        self._thread = threading.Thread(target=self._hear, name="harness-cluster", daemon=True)

    # --- For the session ----------------------------------------------------------------------

    def open(self) -> None:
        """Begin to connect, while the caller does something else. Safe to call twice.

        Raises:
            HarnessError: no Python with the engine is known.
        """
        if self._own is not None:
            return
        self._own = facts.facts_of(self._spec)
        self._engine.start(self._opening())
        self._thread.start()

    def device(self) -> DeviceReport:
        """The device of the nodes that were accepted; waits for them.

        Raises:
            Unavailable: no node has it.
            HarnessError: the cluster cannot be used, or every node was refused.
        """
        self.open()
        with self._state:
            while self._kind is None and self.error is None:
                self._state.wait(TICK)
            if self.error is not None:
                if self._absences and not self.notes.refused:
                    raise self._absences[0]
                raise self.error
            assert self._kind is not None
            assert self._kind.device is not None
            return self._kind.device

    @property
    def kind(self) -> NodeFacts:
        """The facts of the nodes; after `device`."""
        assert self._kind is not None
        return self._kind.facts

    @property
    def slots(self) -> int:
        """How many cells run at once on the nodes that were accepted."""
        with self._state:
            return sum(node.slots for node in self._nodes.values() if node.accepted)

    def host(self) -> str:
        """The nodes, in words."""
        with self._state:
            named = [f"{n.label} ({n.slots})" for n in self._nodes.values() if n.accepted]
        noun = "node" if len(named) == 1 else "nodes"
        return f"{len(named)} {noun} of {self._options.address}: {', '.join(named)}"

    def listen(self, listener: Listener) -> None:
        """Tell a listener of all accepted nodes, and from now on of all that happens."""
        with self._state:
            self._listener = listener
            for node in self._nodes.values():
                if node.accepted:
                    listener.joined(node.address, node.slots)

    def give(self, node: str, tasks: Sequence[NodeTask]) -> None:
        """Hand cells to a node."""
        self._engine.order(feed=node, lines=[cells_line(tasks)])

    def label(self, node: str) -> str:
        """A node in words."""
        found = self._nodes.get(node)
        return found.label if found is not None else node

    def close(self) -> None:
        """End all agents of the session, and the engine. Safe to call twice."""
        self._stopping = True
        if self._own is None:
            return
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join()
        self._engine.close()

    # --- Events -------------------------------------------------------------------------------

    def _opening(self) -> dict[str, Any]:
        topic = f"harness-{secrets.token_hex(8)}"
        address = self._options.address
        options = self._settings.options
        needed = self._spec.needed_resource(options.get("device", ""))
        resource = "" if options.get("fallback") else needed
        local_slots = max(1, cores() // address.nodes) if address.nodes else 0
        return {
            "address": address.text,
            "topic": topic,
            "resource": resource,
            "slots": self._options.slots,
            "local_slots": self._options.slots or local_slots,
            "agent": asdict(self._settings),
            "session": {
                "id": topic,
                "root": str(ROOT),
                "python": sys.executable,
                "name": self._spec.name,
                "package": OWN,
                "installed": INSTALLED,
                "fallback": options.get("fallback", ""),
                "variables": {name: os.environ[name] for name in KERNELS if name in os.environ},
            },
        }

    def _hear(self) -> None:
        while not self._stopping and self.error is None:
            event = self._engine.event(TICK)
            with self._state:
                try:
                    if event is not None:
                        self._take(event)
                    self._choose()
                    self._check_clock()
                    self._listener.tick()
                except HarnessError as error:
                    self._fail(error)
                except BaseException as error:  # a fault of ours: nobody may wait for ever
                    self._fail(HarnessError(f"{type(error).__name__}: {error}"))
                    raise
                finally:
                    self._state.notify_all()

    def _take(self, event: Mapping[str, Any]) -> None:
        handlers: Mapping[str, Callable[..., None]] = {
            "connected": self._take_connected,
            "joined": self._take_joined,
            "lines": self._take_lines,
            "left": self._take_left,
            "failed": self._take_failed,
        }
        facts_told = dict(event)
        handlers[facts_told.pop("event")](**facts_told)

    def _take_connected(self, address: str) -> None:
        self._connected = True
        self._alone_since = time.monotonic()

    def _take_joined(self, node: str, name: str, slots: int) -> None:
        self._nodes[node] = ClusterNode(node, name, slots, time.monotonic())

    def _take_failed(self, reason: str) -> None:
        raise HarnessError(printable.block(reason))

    def _take_left(self, node: str, reason: str, refused: bool) -> None:
        found = self._nodes.pop(node, None)
        if found is None:
            return
        told = f"{found.label}: {printable.block(reason)}"
        (self.notes.refused if refused else self.notes.lost).append(told)
        self._alone_since = time.monotonic()
        if found.accepted:
            self._listener.left(node, f"{found.label}: {reason.splitlines()[0]}")

    def _take_lines(self, node: str, lines: Sequence[str]) -> None:
        for line in lines:
            found = self._nodes.get(node)
            if found is None:
                return
            try:
                message = frames.decode_one_of(line.encode("ascii", "replace"), MESSAGES)
            except frames.FrameError as error:
                self._drop(found, f"its agent said what cannot be read: {error}", refused=False)
                return
            self._take_message(found, message)

    def _take_message(self, node: ClusterNode, message: Any) -> None:
        if isinstance(message, Hello):
            node.hello = message
            self._first = self._first or time.monotonic()
            self._judge(node)
        elif isinstance(message, BeganCell):
            self._listener.began(node.address, message.ticket)
        elif isinstance(message, Ended):
            self._listener.ended(node.address, message)
        elif isinstance(message, Running):
            self._listener.status(node.address, message)
        elif isinstance(message, Declined):
            self._drop(node, message.reason, refused=True)

    def _judge(self, node: ClusterNode) -> None:
        """Refuse a node that cannot serve the session; accept it where the kind is known."""
        assert self._own is not None
        hello = node.hello
        if hello is None:
            return
        if problem := facts.difference(self._own, hello.facts, self._spec.name):
            self._drop(node, problem, refused=True)
        elif hello.device is None:
            self._absences.append(Unavailable(hello.reason, hello.fix))
            self._drop(node, "", refused=True)
        elif self._kind is not None:
            if problem := self._other_kind(hello):
                self._drop(node, problem, refused=True)
                return
            node.accepted = True
            self._listener.joined(node.address, node.slots)

    def _other_kind(self, hello: Hello) -> str:
        assert self._kind is not None
        assert self._kind.device is not None
        assert hello.device is not None
        if problem := facts.other_processor(self._kind.facts, hello.facts):
            return problem
        mine, its = self._kind.device.device, hello.device.device
        if (mine.name, mine.driver, mine.versions) == (its.name, its.driver, its.versions):
            return ""
        names = [
            ", ".join([each.name, each.driver, *map(" ".join, each.versions.items())])
            for each in (mine, its)
        ]
        return (
            f"expected one device in a run, {names[0]} as on {self._kind.facts.host}, found "
            f"{names[1]}. Fix: a cluster, or a partition, with one device and driver"
        )

    def _drop(self, node: ClusterNode, reason: str, *, refused: bool) -> None:
        """Send a node away."""
        self._nodes.pop(node.address, None)
        self._engine.order(drop=node.address)
        if reason:
            told = f"{node.label}: {printable.block(reason)}"
            (self.notes.refused if refused else self.notes.lost).append(told)
        if node.accepted:
            self._listener.left(node.address, f"{node.label}: {reason}")
        self._alone_since = time.monotonic()

    def _choose(self) -> None:
        """Settle on one kind of machine, once all nodes have answered or had time to.

        It is that of the session's own machine where a node has it, else that of the first node.
        """
        if self._kind is not None or self._first is None or self._own is None:
            return
        hellos = [node.hello for node in self._nodes.values() if node.hello is not None]
        waits = len(hellos) < len(self._nodes)
        if not hellos or (waits and time.monotonic() - self._first < SETTLE):
            return
        own = [hello for hello in hellos if hello.facts.processor == self._own.processor]
        self._kind = (own or hellos)[0]
        for node in list(self._nodes.values()):
            self._judge(node)

    def _check_clock(self) -> None:
        """Give up where no node comes, or none answers.

        Raises:
            HarnessError: so.
        """
        now = time.monotonic()
        for node in list(self._nodes.values()):
            if node.hello is None and now - node.since > ANSWER:
                self._drop(node, f"it has not answered for {ANSWER:g} s", refused=False)
        if not self._connected or self._nodes:
            return
        patience = 0.0 if self._is_hopeless() else PATIENCE
        if now - self._alone_since < patience:
            return
        told = [*self.notes.refused, *self.notes.lost]
        found = "none" if not told else f"{len(told)} that cannot be used:\n" + "\n".join(told)
        address = self._options.address
        by = f"--scheduler-file {address}" if address.text.endswith(".json") else address.text
        start = "see the reason of each" if address.nodes else f"nox -s cluster -- worker {by}"
        raise HarnessError(
            f"expected a node of {address} that serves this session, found {found}\nWhat was "
            f"stored before is kept. Fix: {start}; then the same command with --changed runs the "
            "rest"
        )

    def _is_hopeless(self) -> bool:
        """Whether a cluster of this machine's own, which grows no further, has nobody left."""
        answered = len(self.notes.refused) + len(self._absences)
        return bool(self._options.address.nodes) and answered >= self._options.address.nodes

    def _fail(self, error: HarnessError) -> None:
        self.error = error
        self._listener.failed(error)
