"""A bridge without an engine: nodes are threads of this process, their agents real processes.

It speaks with a session as `harness.cluster.bridge` does. `PLAN`, an environment variable, is a
JSON object that says what happens to its nodes:

    nodes       how many there are; 2
    kill        after how many endings of a node its agents are killed, by the node's number; the
                other nodes' endings are held back until then, so that cells are left for it
    twice       whether each ending is told twice
    other       facts that a node's hello has otherwise, by the node's number
    fail        a reason to fail with, after so many endings of all nodes: [reason, endings]
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

from harness.cluster.relay import NotServed, Relay

PLAN: dict[str, Any] = json.loads(os.environ.get("PLAN", "{}"))


class Node:
    """A node, and how many cells have ended on it."""

    def __init__(self, bridge: Bridge, number: int) -> None:
        self.name = f"node{number}"
        self.address = f"fake://{number}"
        self.number = str(number)
        self.ended = 0
        self.killed = False
        opening = bridge.opening
        agent = {**opening["agent"], "workers": 1, "beside": PLAN.get("nodes", 2) - 1}
        session = {**opening["session"], "agent": json.dumps(agent)}
        session["variables"] = {**session["variables"], "HARNESS_NODE": self.name}
        self.bridge = bridge
        self.relay = Relay(session, self.send)
        self.thread = threading.Thread(target=self.run, daemon=True)

    def send(self, lines: list[str]) -> None:
        lines = [self.changed(line) for line in lines]
        if self.number not in self.bridge.doomed and any(map(ends, lines)):
            self.bridge.bereft.wait(60)
        self.bridge.emit("lines", node=self.address, lines=lines)
        if PLAN.get("twice"):
            ended = list(filter(ends, lines))
            self.bridge.emit("lines", node=self.address, lines=ended)
        self.ended += sum(map(ends, lines))
        after = PLAN.get("kill", {}).get(self.number)
        if after is not None and self.ended >= after and not self.killed:
            self.killed = True
            for child in psutil.Process().children(recursive=True):
                if environment(child).get("HARNESS_NODE") == self.name:
                    child.send_signal(signal.SIGKILL)
            if all(
                node.killed
                for node in self.bridge.nodes.values()
                if node.number in self.bridge.doomed
            ):
                self.bridge.bereft.set()

    def changed(self, line: str) -> str:
        name, told = json.loads(line)
        if name == "Hello":
            told["facts"].update(PLAN.get("other", {}).get(self.number, {}))
        return json.dumps([name, told])

    def run(self) -> None:
        try:
            reason, refused = self.relay.run(), False
        except NotServed as refusal:
            reason, refused = str(refusal), True
        if reason:
            self.bridge.emit("left", node=self.address, reason=reason, refused=refused)


def ends(line: str) -> bool:
    """Whether a message says that a cell has ended."""
    return bool(json.loads(line)[0] == "Ended")


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}


class Bridge:
    """The bridge: nodes, and the session's orders."""

    def __init__(self, opening: dict[str, Any]) -> None:
        self.opening = opening
        self.writing = threading.Lock()
        self.nodes: dict[str, Node] = {}
        self.endings = 0
        self.doomed = set(PLAN.get("kill", {}))
        self.bereft = threading.Event()  # set once all doomed nodes are killed
        if not self.doomed:
            self.bereft.set()

    def emit(self, event: str, **facts: Any) -> None:
        with self.writing:
            sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
            sys.stdout.flush()
        if event == "lines" and "fail" in PLAN:
            self.endings += sum(map(ends, facts["lines"]))
            if self.endings >= PLAN["fail"][1]:
                self.emit("failed", reason=PLAN.pop("fail")[0])

    def run(self) -> None:
        self.emit("connected", address="fake://here")
        made = [Node(self, number) for number in range(PLAN.get("nodes", 2))]
        self.nodes = {node.address: node for node in made}
        for node in made:
            self.emit("joined", node=node.address, name=node.name, slots=1)
        for node in made:
            node.thread.start()
        for line in sys.stdin:
            told = json.loads(line)
            if "feed" in told:
                self.nodes[told["feed"]].relay.feed(told["lines"])
            else:
                self.nodes[told["drop"]].relay.stop()
        for node in made:
            node.relay.stop()
        for node in made:
            node.thread.join(20)


if __name__ == "__main__":
    Bridge(json.loads(sys.stdin.readline())).run()
