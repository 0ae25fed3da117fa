"""Messages of a child, read by its parent without ever waiting for the rest of one."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from harness.workers import messages
from harness.workers.limits import MB

#: Bytes of the longest message that can be true.
LARGEST_MESSAGE = 256 * MB


class Inbox:
    """What one child has said.

    On POSIX systems it reads the stream itself, because `Connection.recv_bytes` would wait for
    as many bytes as a damaged header promises.
    """

    _SHORT = struct.Struct("!i")
    _LONG = struct.Struct("!Q")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ended = False
        self.unreadable = ""
        self._buffer = bytearray()
        if sys.platform != "win32":
            os.set_blocking(connection.fileno(), False)

    @property
    def partial(self) -> int:
        """Bytes of a message whose rest never came."""
        return len(self._buffer)

    def read(self) -> list[messages.Message]:
        """The messages that are complete."""
        heard = []
        for payload in self._payloads():
            try:
                message = _Unpickler(io.BytesIO(payload)).load()
            except Exception as error:
                self._give_up(f"{type(error).__name__}: {error}")
                break
            if not isinstance(message, messages.Message):
                self._give_up(f"expected a message, found {type(message).__name__}")
                break
            heard.append(message)
        return heard

    def _give_up(self, why: str) -> None:
        self.unreadable = self.unreadable or why
        self.ended = True
        self._buffer.clear()

    def _payloads(self) -> Iterator[bytes]:
        if sys.platform == "win32":
            yield from self._whole_payloads()
            return
        self._fill()
        while (payload := self._cut()) is not None:
            yield payload

    def _whole_payloads(self) -> Iterator[bytes]:
        """Windows' pipes keep messages whole."""
        try:
            while not self.ended and self.connection.poll():
                yield self.connection.recv_bytes(LARGEST_MESSAGE)
        except EOFError:
            self.ended = True
        except OSError as error:
            self._give_up(str(error))

    def _fill(self) -> None:
        while not self.ended:
            try:
                data = os.read(self.connection.fileno(), 1 << 16)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.ended = True
            self._buffer += data

    def _cut(self) -> bytes | None:
        """One complete payload off the front of the buffer."""
        header = self._SHORT.size
        if len(self._buffer) < header:
            return None
        (size,) = self._SHORT.unpack_from(self._buffer)
        if size == -1:
            if len(self._buffer) < header + self._LONG.size:
                return None
            (size,) = self._LONG.unpack_from(self._buffer, header)
            header += self._LONG.size
        if not 0 <= size <= LARGEST_MESSAGE:
            self._give_up(f"a message of {size} bytes was announced")
            return None
        if len(self._buffer) < header + size:
            return None
        payload = bytes(self._buffer[header : header + size])
        del self._buffer[: header + size]
        return payload


class _Unpickler(pickle.Unpickler):
    """Builds the harness's own types and numpy's numbers, and nothing else.

    A tensor in a result would import its framework here, and initialise a device in the parent.
    """

    _MODULES = ("harness.workers.messages", "harness.contract", "harness.cell.request")

    def find_class(self, module: str, name: str) -> Any:
        if module in self._MODULES or module.split(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"a result holds numbers and text, found {module}.{name}")
