"""Log lines for a reader who may be slow, stuck or gone: a service never waits for it.

A log that takes no more lines would hold up every message and every login otherwise. What it does
not take at once is lost, and how much that was is said when it takes lines again.
"""

import logging
import os
import select
import socket
from typing import Protocol

_AT_ONCE = select.PIPE_BUF
"""Octets that a pipe takes without waiting once it takes any (pipe(7)). A stream socket says that
it takes some when three quarters of its buffer are free, which are more."""


class Output(Protocol):
    def take(self, data: bytes) -> int:
        """How many octets of `data` went out without waiting. Raises OSError."""


class PatientHandler(logging.Handler):
    """Formats records, gives them to `output`, and counts those that it does not take."""

    def __init__(self, output: Output):
        super().__init__()
        self._output = output
        self._rest = b""
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._lost and self._write(self._notice(record.name)):
                self._lost = 0
            if self._lost or not self._write(record):
                self._lost += 1
        except Exception:
            self.handleError(record)

    def _notice(self, name: str) -> logging.LogRecord:
        return logging.LogRecord(name, logging.WARNING, "", 0,
                                 "the log took no lines for a while; lost: %d", (self._lost,), None)

    def _write(self, record: logging.LogRecord) -> bool:
        """Whether `record` went out, or has begun to; what is missing then goes before the next."""
        lines = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
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

    It is used under its own number. One more of our own would be closed by a process that takes
    over, and its number be that of an SMTP session next.
    """

    def __init__(self, fd: int):
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def take(self, data: bytes) -> int:
        # Not by O_NONBLOCK, which all who share the descriptor would get.
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
    """The local syslog daemon, which may be started anew at any time."""

    def __init__(self, path: str = "/dev/log"):
        self._path = path
        self._socket: socket.socket | None = None

    def take(self, data: bytes) -> int:
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
