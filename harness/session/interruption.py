"""Interruption: the signal handlers that end a run early, once, whatever comes after.

Ctrl-C, SIGTERM and SIGHUP end a run alike: running cells are killed, what is done stays stored, and
the summary is printed. Only the first signal raises an exception. A second one, while the run is
being closed, would leave pytest without the knowledge that the run was interrupted.

Under nox, a run also ends when nox does: a killed nox tells nobody.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from types import FrameType

import psutil

from harness.toolkit.typed_commands import STARTED_BY_NOX

#: Seconds between two looks for nox.
WATCH = 0.5

#: Signals that end a run. Windows has no SIGHUP.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interruption:
    """Watch for signals that end a run.

    Attributes:
        number: of the first signal that came; None: none has.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._closing = False
        self._before: dict[int, object] = {}
        self._over = threading.Event()

    @property
    def status(self) -> int:
        """The exit status after the signal, as shells have it: 130 after Ctrl-C."""
        return 128 + (self.number or signal.SIGINT)

    def watch(self) -> None:
        """Handle signals from now on, in the main thread; those that are ignored stay ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:  # as under nohup
                self._before[number] = before
                signal.signal(number, self._arrived)
        parent = os.environ.get(STARTED_BY_NOX, "")
        if parent.isdecimal():
            threading.Thread(target=self._watch_parent, args=(int(parent),), daemon=True).start()

    def close(self) -> None:
        """Let no signal raise any more: the run is being closed."""
        self._closing = True

    def check(self) -> None:
        """Raise again what somebody's code has swallowed.

        Raises:
            KeyboardInterrupt: a signal has come.
        """
        if self.number is not None:
            raise KeyboardInterrupt

    def restore(self) -> None:
        """Handle signals as before `watch`; after one has come, go on to ignore them."""
        self._over.set()
        while self._before and self.number is None:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            return
        self.number = number
        if not self._closing:
            raise KeyboardInterrupt

    def _watch_parent(self, parent: int) -> None:
        """Interrupt the main thread, as SIGTERM does, when the process `parent` is gone."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(parent)
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                if self._over.wait(WATCH):
                    return
        if not self._over.is_set():
            _thread.interrupt_main(signal.SIGTERM)
