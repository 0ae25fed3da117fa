"""Listener: whoever has cells on the nodes of a cluster hears of them by it."""

from __future__ import annotations

from harness.cluster.messages import Ended, Running
from harness.contract import HarnessError


class Listener:
    """Hears of cells; the methods are called in the connection's thread."""

    def joined(self, node: str, slots: int) -> None:
        """A node was accepted."""

    def began(self, node: str, ticket: int) -> None:
        """A cell has begun."""

    def ended(self, node: str, message: Ended) -> None:
        """A cell has ended."""

    def status(self, node: str, message: Running) -> None:
        """Some cells run."""

    def left(self, node: str, reason: str) -> None:
        """An accepted node serves no more."""

    def failed(self, error: HarnessError) -> None:
        """The cluster can be used no more."""

    def tick(self) -> None:
        """Some time has passed."""
