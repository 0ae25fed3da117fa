"""Node of a cluster as a session knows it, and notes on those that were refused or lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.cluster.messages import Hello


@dataclass(slots=True)
class ClusterNode:
    """A worker of the cluster, and what it has said."""

    address: str
    name: str
    slots: int
    since: float
    hello: Hello | None = None
    accepted: bool = False

    @property
    def label(self) -> str:
        """Its name and host, as far as they are known."""
        host = self.hello.facts.host if self.hello is not None else ""
        own = self.name if self.name != self.address else ""
        return " on ".join(filter(None, [own, host])) or self.address


@dataclass(slots=True)
class ClusterNotes:
    """Notes on what became of nodes, for people, in order."""

    refused: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
