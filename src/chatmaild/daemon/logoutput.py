"""Log lines for a reader who may be slow, stuck or gone: a service never waits for it.

Otherwise a stuck log would hold up every message and every login. Lines that it does not take at
once are lost; when it takes lines again, the first one says how many.
"""

import logging
import os
import select
import socket
from typing import Protocol

_AT_ONCE = select.PIPE_BUF
"""Octets that a pipe takes without waiting if it takes any (pipe(7)). A stream socket takes more:
it is writable only while three quarters of its buffer are free."""


class Output(Protocol):
    """Where log lines go."""

    def take(self, data: bytes) -> int:
        """How many octets of `data` went out without waiting. Raises OSError."""


class PatientHandler(logging.Handler):
    """Formats records, writes them to `output`, and counts those that it does not take."""

    def __init__(self, output: Output):
        super().__init__()
        self._output = output
        self._rest = b""
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`, or count it as lost."""
        try:
            self.write(self.format(record))
        except Exception:
            self.handleError(record)

    def write(self, text: str) -> None:
        """Write `text`, which is formatted already and needs no record, or count it as lost."""
        self.acquire()      # of logging: a finalizer may log meanwhile, and a child gets it free
        try:
            if self._lost and self._take(self.format(self._notice())):
                self._lost = 0
            if self._lost or not self._take(text):
                self._lost += 1
        finally:
            self.release()

    def _notice(self) -> logging.LogRecord:
        return logging.LogRecord("", logging.WARNING, "", 0,
                                 "the log took no lines for a while; lost: %d", (self._lost,), None)

    def _take(self, text: str) -> bool:
        """Whether at least a part of `text` went out; the rest of it goes before the next one."""
        lines = f"{text}\n".encode("utf-8", "backslashreplace")
        try:
            if self._rest:
                self._rest = self._rest[self._output.take(self._rest):]
            taken = 0 if self._rest else self._output.take(lines)
        except OSError:
            taken = 0       # nobody reads any more
        if taken:
            self._rest = lines[taken:]
        return taken > 0


class Descriptor:
    """An open descriptor: systemd's socket to the journal, a pipe, a file.

    It is used under its own number, never duplicated: a process that takes over closes all others,
    and the number could then belong to an SMTP session.
    """

    def __init__(self, fd: int):
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def take(self, data: bytes) -> int:
        """As in `Output`."""
        # Not by O_NONBLOCK, which would change it for all who share the descriptor.
        taken = 0
        while taken < len(data) and self._poll.poll(0):
            taken += os.write(self._fd, data[taken:taken + _AT_ONCE])
        return taken


def _send(connection: socket.socket, data: bytes) -> int:
    try:
        return connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return 0


class Syslog:
    """The local syslog daemon, which may restart at any time."""

    def __init__(self, path: str = "/dev/log"):
        self._path = path
        self._socket: socket.socket | None = None

    def take(self, data: bytes) -> int:
        """As in `Output`; a datagram goes as a whole or not at all."""
        if self._socket:
            try:
                return self._send(self._socket, data)
            except OSError:
                self._socket.close()    # another daemon has the path by now
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(self._path)
        return self._send(self._socket, data)

    @staticmethod
    def _send(connection: socket.socket, data: bytes) -> int:
        return len(data) if _send(connection, data.rstrip(b"\n")) else 0
