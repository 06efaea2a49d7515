"""The asyncio loop of the dict services: connections, order, limits. Each service decides what to
answer.

Requests of one connection are answered one after the other, in their order. A connection that
sends more while it waits for an answer, or does not read its answers, is not read from any further,
so that its memory stays bounded and nobody else waits.
"""

import argparse
import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from chatmaild.config.config import Config
from chatmaild.daemon import dictproto, eventloop, logs, metricsocket, process, sockets
from chatmaild.daemon.sighup import ConfigFile
from chatmaild.metrics import Metric, render

log = logging.getLogger(__name__)

MAX_TRANSACTIONS = 64
"""Open at a time on one connection."""

MAX_CHANGES = 64
"""In one transaction. With MAX_LINE this bounds what a connection can make us hold."""

REQUESTS_PER_TURN = 64
"""Answered for one connection before the others have their turn."""

ROWS_PER_TURN = 100

NO_HELLO = dictproto.Hello()
"""Stands for that of a client that sent none."""

STOP_TIMEOUT = 10
"""Seconds that requests under way may take to finish when the service stops."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What one committed transaction asks for, in the client's order."""

    user: bytes
    changes: tuple[dictproto.Change, ...]


_InTransaction = (dictproto.Begin | dictproto.Change | dictproto.Rollback | dictproto.Unsupported)

Answer = bytes | Coroutine[Any, Any, bytes] | asyncio.Future[bytes]
"""A complete answer made by `dictproto`, or a coroutine of one; the loop must not be blocked."""


class Service:
    """The answers of one dict service. A subclass overrides what it supports.

    An exception that escapes is answered `dictproto.FAILURE` and logged without its text, which
    may hold parts of the request.
    """

    def configure(self, config: Config) -> None:
        """Use this configuration from now on: called at the start and again on SIGHUP."""
        raise NotImplementedError

    def lookup(self, request: dictproto.Lookup, hello: dictproto.Hello) -> Answer:
        """`dictproto.found`, `dictproto.NOT_FOUND` or `dictproto.FAILURE`."""
        return dictproto.NOT_FOUND

    def iterate(self, request: dictproto.Iterate) -> Iterator[bytes]:
        """Rows made by `dictproto.row`, a few at a time, so a generator is best."""
        return iter(())

    def commit(self, transaction: Committed) -> Answer:
        """`dictproto.COMMITTED` or `dictproto.FAILURE`."""
        return dictproto.FAILURE

    def refuse(self) -> Answer:
        """The answer to a commit of what we did not take: a line too long, too many of them."""
        return dictproto.FAILURE

    def metrics(self) -> Iterable[Metric]:
        """What the service counts; asked for in another thread."""
        return ()

    def close(self) -> None:
        """The service ends, after all its answers."""


class _Connection(asyncio.Protocol):
    __slots__ = ("_service", "_all", "_loop", "_transport", "_reader", "_hello", "_transactions",
                 "_busy", "_writable", "_drained", "_finishing")

    def __init__(self, service: Service, connections: "_Connections"):
        self._service = service
        self._all = connections
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._reader = dictproto.LineReader()
        self._hello = NO_HELLO
        self._transactions: dict[bytes, tuple[bytes, list[dictproto.Change] | None]] = {}
        self._busy = False
        self._writable = True
        self._drained: asyncio.Future[None] | None = None
        self._finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._all.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._all.discard(self)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._busy:
            self._transport.pause_reading()     # only for those who do not wait for their answer
        else:
            self._run()

    def eof_received(self) -> bool:
        """The client says no more: answer what it has said."""
        self.finish()
        return True     # do not close yet

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._drained:
            self._drained.set_result(None)
            self._drained = None
        if not self._busy:
            self._run()

    def finish(self) -> None:
        """Answer what was read already, then close."""
        self._finishing = True
        if not self._busy:
            self._run()

    def abort(self) -> None:
        self._transport.abort()

    def _run(self) -> None:
        """Answer what was read, until a request needs time or the client must read first."""
        if self._transport.is_closing():
            return
        self._busy = False
        answers: list[bytes] = []
        for _ in range(REQUESTS_PER_TURN):
            if not self._writable:
                self._transport.pause_reading()
                break
            complete, request = self._reader.next_request()
            if not complete:
                break
            answer = self._answer(request)
            if isinstance(answer, bytes):
                answers.append(answer)
            else:
                self._busy = True
                asyncio.ensure_future(answer).add_done_callback(self._answered)
                break
        else:
            self._busy = True
            self._loop.call_soon(self._run)
        if answers:
            self._transport.write(b"".join(answers))
        if not self._busy and self._writable:
            self._transport.close() if self._finishing else self._transport.resume_reading()

    def _answered(self, task: asyncio.Future[bytes]) -> None:
        if not task.cancelled():
            error = task.exception()
            self._transport.write(_failed(error) if error else task.result())
            self._run()

    def _answer(self, request: dictproto.Request) -> Answer:
        """The answer to `request`: a value at once, or work for a task of its own."""
        try:
            match request:
                case dictproto.Lookup():
                    return self._service.lookup(request, self._hello)
                case dictproto.Hello():
                    self._hello = request
                case dictproto.Iterate():
                    return self._send_rows(request)
                case dictproto.Commit():
                    return self._commit(request)
                case dictproto.Malformed():
                    log.warning("a malformed or too long dict request")
                    return request.answer
                case None:
                    log.debug("an unknown dict command")
                case _:
                    self._change_transaction(request)
            return b""
        except Exception as error:
            return _failed(error)

    def _change_transaction(self, request: _InTransaction) -> None:
        known = self._transactions.get(request.id)
        match request:
            case dictproto.Begin() if known or len(self._transactions) < MAX_TRANSACTIONS:
                # the number is in use: nothing tells the two transactions apart
                self._transactions[request.id] = (request.user, None if known else [])
            case dictproto.Rollback():
                self._transactions.pop(request.id, None)
            case dictproto.Change() if known and known[1] is not None:
                if len(known[1]) < MAX_CHANGES:
                    known[1].append(request)
                else:
                    self._transactions[request.id] = (known[0], None)
            case dictproto.Unsupported() if known:
                self._transactions[request.id] = (known[0], None)

    def _commit(self, request: dictproto.Commit) -> Answer:
        user, changes = self._transactions.pop(request.id, (b"", None))
        if changes is None:
            log.warning("a dict transaction was refused: unknown, malformed or too long")
            answer = self._service.refuse()
        else:
            answer = self._service.commit(Committed(user, tuple(changes)))
        if isinstance(answer, bytes):
            return dictproto.commit_answer(request, answer)
        return self._await_commit(request, answer)

    async def _await_commit(self, request: dictproto.Commit, answer: Awaitable[bytes]) -> bytes:
        return dictproto.commit_answer(request, await answer)

    async def _send_rows(self, request: dictproto.Iterate) -> bytes:
        rows: list[bytes] = []
        for count, row in enumerate(self._service.iterate(request), 1):
            rows.append(row)
            if len(rows) == ROWS_PER_TURN:
                self._transport.write(b"".join(rows))
                rows.clear()
                await self._others_and_reader()
            if count == request.max_rows or self._transport.is_closing():
                break
        return b"".join(rows) + dictproto.END

    async def _others_and_reader(self) -> None:
        """Let other connections have their turn, and this one's client read its rows."""
        await asyncio.sleep(0)
        if not self._writable:
            self._drained = self._loop.create_future()
            await self._drained


class _Connections(set[_Connection]):
    """The open ones; `emptied` is set while there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.emptied = asyncio.Event()
        self.emptied.set()

    def add(self, connection: _Connection) -> None:
        super().add(connection)
        self.emptied.clear()

    def discard(self, connection: _Connection) -> None:
        super().discard(connection)
        if not self:
            self.emptied.set()


def _failed(error: BaseException) -> bytes:
    log.error("a dict request failed: %s", logs.place(error))
    return dictproto.FAILURE


def run(args: argparse.Namespace, service: Service, sock: socket.socket | None = None,
        beside: Callable[[], Awaitable[eventloop.Stop]] | None = None) -> int:
    """Serve until told to stop; the exit code. Raises `ConfigError`, `SocketError`.

    Without `sock` the arguments name the socket. `beside` starts another server in the same loop.
    """
    file = ConfigFile.of(args)
    config = file.load()
    service.configure(config)
    listener = sock or sockets.listening(args.socket)
    process.allow_many_descriptors()
    metricsocket.serve(config, args.command, lambda: render(
        service.metrics(), (("service", args.command),)))

    async def start() -> eventloop.Running:
        stop_beside = await beside() if beside else None
        stop_service = await serve(service, listener)

        async def stop() -> None:
            if stop_beside:
                await stop_beside()
            await stop_service()

        return eventloop.Running(service.configure, stop)

    eventloop.run(start, file)
    return 0


async def serve(service: Service, sock: socket.socket) -> eventloop.Stop:
    """Accept on `sock` (unix or inet); returns the coroutine function that ends the service."""
    connections = _Connections()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(service, connections), sock=sock,
                                      backlog=sockets.BACKLOG)

    async def stop() -> None:
        server.close()
        for connection in list(connections):
            connection.finish()
        try:
            await asyncio.wait_for(connections.emptied.wait(), STOP_TIMEOUT)
        except TimeoutError:
            for connection in list(connections):
                connection.abort()
        service.close()

    return stop
