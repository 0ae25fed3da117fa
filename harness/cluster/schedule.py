"""Schedule: which node runs which cell, so that none is lost, doubled or sent around forever.

A node has some cells in hand beyond those that it runs, fewer towards the end. The cells of a node
that is lost go to others. One that had begun there is a suspect: it may be the cause. A suspect
runs alone on its node, and is given up where that node is lost too. A node that was lost may go on
and answer: the first ending of a cell counts, any other one is a double.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

#: The most cells that a node has in hand beyond those that it runs.
AHEAD = 16

#: With how many nodes a cell may be lost before it is given up.
LOSSES = 2


@dataclass(slots=True)
class NodeQueue:
    """The cells in the hands of one node, by their tickets; `begun` are those that it runs."""

    slots: int
    held: dict[int, None] = field(default_factory=dict)  # in order
    begun: set[int] = field(default_factory=set)
    alone: bool = False  # whether it holds a suspect, and nothing else


class Schedule:
    """Tickets, each of one attempt at a cell, and the nodes that have them.

    Attributes:
        rerun: how many tickets were sent again after their node was lost.
        doubled: how many endings came after the first one of their ticket.
    """

    def __init__(self) -> None:
        self.rerun = 0
        self.doubled = 0
        self._nodes: dict[str, NodeQueue] = {}
        self._waiting: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._losses: dict[int, int] = {}
        self._open: set[int] = set()

    @property
    def nodes(self) -> dict[str, int]:
        """The slots of each node."""
        return {name: node.slots for name, node in self._nodes.items()}

    @property
    def unfinished(self) -> bool:
        """Whether there are tickets without an ending."""
        return bool(self._open)

    def add(self, tickets: Iterable[int], *, first: bool = False) -> None:
        """Queue tickets behind the others, or before them."""
        added = list(tickets)
        self._open.update(added)
        if first:
            self._waiting.extendleft(reversed(added))
        else:
            self._waiting.extend(added)

    def join(self, name: str, slots: int) -> None:
        """Take on a node that runs so many cells at once."""
        self._nodes[name] = NodeQueue(slots)

    def lose(self, name: str) -> list[int]:
        """Give up a node; its cells are queued again.

        Returns:
            The tickets that are given up, since they have ended `LOSSES` nodes.
        """
        node = self._nodes.pop(name, None)
        given_up = []
        for ticket in reversed(node.held if node is not None else {}):
            if ticket not in self._open or self._is_held(ticket):
                continue
            assert node is not None
            losses = self._losses[ticket] = self._losses.get(ticket, 0) + 1
            if node.alone and losses >= LOSSES:
                given_up.append(ticket)
                self._open.discard(ticket)
                continue
            self.rerun += 1
            if ticket in node.begun or losses >= LOSSES:
                self._suspects.appendleft(ticket)
            else:
                self._waiting.appendleft(ticket)
        return given_up

    def assignments(self) -> list[tuple[str, list[int]]]:
        """The tickets to hand to nodes now, those of each node in order."""
        given: dict[str, list[int]] = {}
        for name, node in self._nodes.items():
            if self._suspects and not node.held:
                ticket = self._suspects.popleft()
                node.held[ticket] = None
                node.alone = True
                given[name] = [ticket]
        # A suspect waits for an empty node: as many are kept free of other cells.
        wanted = len(self._suspects)
        free = [(name, node) for name, node in self._nodes.items() if not node.alone]
        for _, node in sorted(free, key=lambda pair: len(pair[1].held))[:wanted]:
            free = [pair for pair in free if pair[1] is not node]
        filled: set[str] = set()
        while self._waiting and free:
            name, node = min(free, key=lambda pair: len(pair[1].held) / pair[1].slots)
            ahead = min(AHEAD, len(self._waiting) // (2 * len(self._nodes)))
            # Filled when half is left: handing out costs the same for one cell and for many.
            most = node.slots + (ahead if name in filled else ahead // 2)
            if len(node.held) >= most:
                free = [pair for pair in free if pair[1] is not node]
                continue
            filled.add(name)
            ticket = self._waiting.popleft()
            node.held[ticket] = None
            given.setdefault(name, []).append(ticket)
        return list(given.items())

    def began(self, name: str, ticket: int) -> None:
        """Note that a node runs a cell of those in its hands."""
        node = self._nodes.get(name)
        if node is not None and ticket in node.held:
            node.begun.add(ticket)

    def ended(self, name: str, ticket: int) -> bool:
        """Note that a cell has ended on a node; returns whether this ending counts."""
        node = self._nodes.get(name)
        if node is not None and ticket in node.held:
            del node.held[ticket]
            node.begun.discard(ticket)
            node.alone = node.alone and bool(node.held)
        if ticket not in self._open:
            self.doubled += 1
            return False
        self._open.discard(ticket)
        for waiting in (self._waiting, self._suspects):
            if ticket in waiting:  # its node was taken for lost
                waiting.remove(ticket)
        return True

    def _is_held(self, ticket: int) -> bool:
        return any(ticket in node.held for node in self._nodes.values())
