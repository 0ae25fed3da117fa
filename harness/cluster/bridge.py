"""Bridge: the process in the engine's environment that speaks with the cluster for a session.

The engine is dask.distributed, which no backend's environment has. The session's process hands its
orders over as lines of JSON on standard input, and hears of nodes and their agents as lines on
standard output. The end of the input ends the bridge, and with it all agents of the session.

Orders: the `Opening` first; then {"feed": NODE, "lines": [...]}, {"drop": NODE}.
Events: {"event": "connected" | "joined" | "lines" | "left" | "failed", ...}, as
`harness.cluster.connection` reads them.

Only the standard library and the engine are imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from harness.cluster import relay

#: Seconds between two looks at the scheduler, and between two signs of life to each node.
LOOK, SIGN = 1.0, 5.0

#: Seconds in which a scheduler must answer.
CONNECT = 15

#: Seconds after which a scheduler that does not answer any more is lost.
LOST = 5.0

#: Seconds that agents and a local cluster are given to end.
CLOSING = 20.0

#: How often an agent is started on one worker.
TRIES = 3

#: Address of a cluster that the bridge starts on this machine: `local:3`.
LOCAL = "local:"


class Failed(Exception):
    """A cluster that cannot be used; the message says expected, found and fix."""


class Bridge:
    """Nodes of one cluster, for one session.

    Args:
        opening: `address` of the scheduler, `topic` of the session, `resource` that a node must
            offer (empty for none), `slots` of each node (0 for its threads), `local_slots` of each
            node of a local cluster, `agent`, the settings of an agent, and `session`, as `Relay`
            takes it.
        emit: takes events.
    """

    def __init__(self, opening: Mapping[str, Any], emit: Callable[..., None]) -> None:
        self._opening = opening
        self._emit = emit
        self._client: Any = None
        self._cluster: Any = None
        self._futures: dict[str, Any] = {}  # by node: the task that holds it
        self._ends: dict[str, int] = {}  # how often the agent of a node has ended by itself
        self._feeds: dict[str, asyncio.Queue[list[str] | None]] = {}
        self._refused: set[str] = set()  # workers that cannot serve
        self._tasks: set[asyncio.Task[None]] = set()

    # --- The cluster --------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect, or start a local cluster.

        Raises:
            Failed: nobody answers, or with another version.
        """
        import cloudpickle
        import dask
        import distributed

        cloudpickle.register_pickle_by_value(relay)
        dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT}s"})
        # It would look at the task that holds a node, a hundred times a second.
        dask.config.set({"distributed.worker.profile.enabled": False})
        address: Any = self._opening["address"]
        if address.startswith(LOCAL):
            self._cluster = address = await self._local(int(address.removeprefix(LOCAL)))
        elif address.endswith(".json"):
            address = _address_in(address)
        try:
            self._client = await distributed.Client(
                address, asynchronous=True, timeout=f"{CONNECT}s", name="harness"
            )
        except (OSError, ValueError, TimeoutError) as error:
            raise Failed(
                f"expected a scheduler of dask.distributed at {address}, found: {_line(error)}. "
                "Fix: `dask scheduler` prints its address; a firewall must let this machine through"
            ) from error
        await self._check_version()
        self._client.subscribe_topic(self._opening["topic"], self._heard)
        self._client.subscribe_topic("all", self._changed)
        self._emit("connected", address=str(self._client.scheduler.address))

    async def _local(self, nodes: int) -> Any:
        import distributed

        resource = self._opening["resource"]
        return await distributed.LocalCluster(
            n_workers=nodes, threads_per_worker=self._opening["local_slots"], processes=True,
            dashboard_address=None, memory_limit=0, asynchronous=True,
            resources={resource: 1} if resource else None,
        )  # fmt: skip

    async def _check_version(self) -> None:
        import distributed

        found = (await self._client.scheduler.versions(packages=[]))["packages"]["distributed"]
        if found != distributed.__version__:
            raise Failed(
                f"expected dask.distributed {distributed.__version__} at the scheduler, as here, "
                f"found {found}. Fix: pip install distributed=={distributed.__version__} there, or "
                f"HARNESS_CLUSTER_PYTHON=PATH of a Python with {found} here"
            )

    async def look(self) -> None:
        """Watch the scheduler, and take on nodes that have come, until it is lost.

        Raises:
            Failed: the scheduler is lost.
        """
        silent = 0.0
        while True:
            if self._client.status == "running":
                silent = 0.0
                with contextlib.suppress(OSError):
                    await self._take_on()
            else:
                silent += LOOK
            if silent >= LOST:
                raise Failed(
                    f"expected the scheduler at {self._client.scheduler.address} to go on, found "
                    "the connection lost. What was stored before is kept. Fix: start it again, "
                    "then the same command with --changed runs the rest"
                )
            await asyncio.sleep(LOOK)

    async def _take_on(self) -> None:
        workers = (await self._client.scheduler.identity(n_workers=-1))["workers"]
        gone = set(self._futures) - set(workers)
        for node in gone:
            self._left(node, "its worker is gone")
        self._refused &= set(workers)
        threads: dict[str, int] = {}
        for worker in workers.values():
            threads[worker["host"]] = threads.get(worker["host"], 0) + self._slots(worker)
        for node, worker in workers.items():
            if node in self._futures or node in self._refused or worker["status"] != "running":
                continue
            beside = threads[worker["host"]] - self._slots(worker)
            await self._hold(node, worker, beside)

    def _slots(self, worker: Mapping[str, Any]) -> int:
        return int(self._opening["slots"] or worker["nthreads"])

    async def _hold(self, node: str, worker: Mapping[str, Any], beside: int) -> None:
        """Start a session's agent on a worker, unless that does not fit."""
        told = {"node": node, "name": str(worker["name"]), "slots": self._slots(worker)}
        reason = self._lack(worker) or await self._other_version(node)
        if reason:
            self._refused.add(node)
            self._emit("joined", **told)
            self._emit("left", node=node, reason=reason, refused=True)
            return
        agent = {**self._opening["agent"], "workers": self._slots(worker), "beside": beside}
        session = {**self._opening["session"], "agent": json.dumps(agent)}
        resource = self._opening["resource"]
        amount = worker["resources"].get(resource, 0) if resource else 0
        self._emit("joined", **told)
        self._feeds[node] = asyncio.Queue()
        future = self._futures[node] = self._client.submit(
            _by_value(relay.serve), session, self._opening["topic"], workers=[node],
            resources={resource: amount} if amount else None, pure=False, retries=0,
            allow_other_workers=False,
        )  # fmt: skip
        self._spawn(self._await(node, future))
        self._spawn(self._feed(node))

    def _lack(self, worker: Mapping[str, Any]) -> str:
        resource = self._opening["resource"]
        if not resource or worker["resources"].get(resource):
            return ""
        offered = ", ".join(sorted(worker["resources"])) or "none"
        return (
            f"expected a worker with the resource {resource}, found one with {offered}. Fix: on a "
            f'machine that has the device, start it with --resources "{resource}=1"'
        )

    async def _other_version(self, node: str) -> str:
        """Why a worker cannot run the code of this process; empty where it can."""
        import distributed

        broadcast = self._client.scheduler.broadcast
        found = await broadcast(msg={"op": "versions", "packages": []}, workers=[node])
        facts = found[node]
        its = ".".join(facts["host"]["python"].split(".")[:2])
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        distributed_there = facts["packages"]["distributed"]
        if its == here and distributed_there == distributed.__version__:
            return ""
        return (
            f"expected a worker with Python {here} and dask.distributed {distributed.__version__}, "
            f"as the session's engine has, found {its} and {distributed_there}. Fix: start it in "
            "an environment with these, or name a Python with those by HARNESS_CLUSTER_PYTHON here"
        )

    # --- Nodes --------------------------------------------------------------------------------

    async def _await(self, node: str, future: Any) -> None:
        """Tell why a node serves no more."""
        try:
            reason, lasting = await future
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if self._client is None or self._client.status != "running":
                return  # the scheduler is lost, which is told by itself
            reason, lasting = f"its task failed: {type(error).__name__}: {_line(error)}", True
        if self._futures.get(node) is not future or not reason:
            return
        self._ends[node] = self._ends.get(node, 0) + 1
        if lasting or self._ends[node] >= TRIES:
            self._refused.add(node)
        self._left(node, reason, refused=lasting)

    def _left(self, node: str, reason: str, *, refused: bool = False) -> None:
        future = self._futures.pop(node, None)
        if future is None:
            return
        self._feeds.pop(node).put_nowait(None)
        self._spawn(self._release(future))
        self._emit("left", node=node, reason=reason, refused=refused)

    async def _release(self, future: Any) -> None:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            await future.cancel(force=True)

    async def _feed(self, node: str) -> None:
        """Pass lines to a node as they come, and a sign of life where none do."""
        lines = self._feeds[node]
        kept: list[str] = []
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                found = await asyncio.wait_for(lines.get(), 0.1 if kept else SIGN)
                if found is None:
                    return
                kept += found
            try:
                answers = await self._client.run(
                    relay.feed, self._opening["topic"], kept, workers=[node], on_error="raise"
                )
            except Exception:  # the worker is gone, which the scheduler tells
                continue
            if answers.get(node):
                kept = []

    def _heard(self, event: tuple[float, Any]) -> None:
        told = event[1]
        if told["node"] in self._futures:
            self._emit("lines", node=told["node"], lines=told["lines"])

    def _changed(self, event: tuple[float, Any]) -> None:
        """Hear at once of workers that are gone."""
        told = event[1]
        if isinstance(told, dict) and told.get("action") == "remove-worker":
            self._left(str(told["worker"]), "its worker is gone")

    def order(self, told: Mapping[str, Any]) -> None:
        """Carry out an order of the session."""
        if "feed" in told and told["feed"] in self._feeds:
            self._feeds[told["feed"]].put_nowait(list(told["lines"]))
        elif "drop" in told:
            self._refused.add(told["drop"])
            self._spawn(self._drop(told["drop"]))

    async def _drop(self, node: str) -> None:
        """End the session's agent on one node."""
        future = self._futures.pop(node, None)
        if future is None:
            return
        self._feeds.pop(node).put_nowait(None)
        with contextlib.suppress(Exception):
            topic = self._opening["topic"]
            found = await self._client.run(relay.stop, topic, workers=[node])
            if found.get(node):  # else another session has the node's device
                await asyncio.wait_for(future, CLOSING)
        await self._release(future)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all agents, then a local cluster. Safe to call twice."""
        if self._client is not None and self._client.status == "running":
            await asyncio.gather(*(self._drop(node) for node in list(self._futures)))
        for task in list(self._tasks):
            task.cancel()
        for each in (self._client, self._cluster):
            if each is not None:
                with contextlib.suppress(Exception):
                    await each.close()
        self._client = self._cluster = None


def _by_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that the engine can only send by value, and that then brings its module along."""
    return lambda *arguments: function(*arguments)


def _address_in(path: str) -> str:
    """The address in a scheduler file, as `dask scheduler --scheduler-file` writes it."""
    try:
        with open(path, encoding="utf-8") as file:
            return str(json.load(file)["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(
            f"expected a scheduler file at {path}, found: {_line(error)}. Fix: `dask scheduler "
            "--scheduler-file PATH` writes it, and --cluster names it"
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


async def _serve(opening: Mapping[str, Any], emit: Callable[..., None]) -> int:
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(orders.put_nowait, json.loads(line))
        loop.call_soon_threadsafe(orders.put_nowait, None)

    bridge = Bridge(opening, emit)
    threading.Thread(target=read, daemon=True).start()

    async def obey() -> None:
        while (told := await orders.get()) is not None:
            bridge.order(told)

    async def watch() -> None:
        await bridge.connect()
        await bridge.look()

    works = [asyncio.ensure_future(obey()), asyncio.ensure_future(watch())]
    try:
        done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        for work in done:
            work.result()
    except Failed as error:
        emit("failed", reason=str(error))
        return 1
    finally:
        for work in works:
            work.cancel()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(bridge.close(), CLOSING)
    return 0


def main() -> int:
    """Serve the session whose opening is the first line of standard input."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what the engine prints is no event
    first = sys.stdin.buffer.readline()
    if not first:
        return 0

    def emit(event: str, **facts: Any) -> None:
        with contextlib.suppress(OSError):
            output.write(json.dumps({"event": event, **facts}) + "\n")

    try:
        return asyncio.run(_serve(json.loads(first), emit))
    except ImportError as error:
        emit(
            "failed",
            reason=f"expected dask.distributed in {sys.executable}, found: {_line(error)}. Fix: "
            "pip install 'hf-hardware-matrix[cluster]' there, or let nox make the environment",
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
