"""Reader of a child's messages that never blocks, whatever bytes the child sends."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection

from harness.toolkit.process_memory import MB
from harness.workers.frames import FrameError, decode
from harness.workers.messages import Message

#: Bytes of the longest message that is read; a longer one is taken for damage.
LARGEST_MESSAGE = 64 * MB


class MessageReader:
    """The messages of one child, read from the parent's end of the pipe.

    On POSIX systems the reader takes the stream apart itself, because `Connection.recv_bytes`
    would wait for as many bytes as a damaged header announces.

    Attributes:
        connection: the parent's end of the pipe.
        ended: whether no more messages can come.
        unreadable: the reason why a message could not be read; empty where all could.
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
        """Bytes of an incomplete message, whose rest has not come."""
        return len(self._buffer)

    def read(self) -> list[Message]:
        """The complete messages that have come since the last call."""
        complete = []
        for payload in self._payloads():
            try:
                complete.append(decode(payload))
            except FrameError as error:
                self._give_up(str(error))
                break
        return complete

    def _give_up(self, reason: str) -> None:
        self.unreadable = self.unreadable or reason
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
        """The payloads on Windows, whose pipes keep messages whole."""
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
        """Take one complete payload off the front of the buffer."""
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
