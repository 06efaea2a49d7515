"""Answers Postfix's tables of the type memcache:, see memcache_table(5).

Postfix asks by one command of the text protocol of memcached::

    get KEY   ->   VALUE KEY 0 LENGTH, the value, END        found
              ->   END                                       not found
              ->   SERVER_ERROR ...                          ask again later

Lines end with CR LF.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable

from chatmaild.daemon import eventloop, logs

log = logging.getLogger(__name__)

MAX_LINE = 4096
"""Octets of a request; a client that sends a longer one is hung up on.

An address that a stranger gives to Postfix may have 2048 (line_length_limit).
"""

STOP_TIMEOUT = 5
"""Seconds that lookups under way may take to finish when the service stops."""

LookUp = Callable[[bytes], Awaitable[bytes | None]]
"""Gives the value of a key, without line ends; None if there is none. An exception that escapes is
answered SERVER_ERROR, and logged without its text, which may hold the key."""


async def serve(look_up: LookUp, sock: socket.socket) -> eventloop.Stop:
    """Accept on `sock`; returns the coroutine function that ends the server."""
    connections: dict[asyncio.Task[None], tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_converse(look_up, reader, writer))
        connections[task] = reader, writer
        task.add_done_callback(connections.pop)

    server = await asyncio.start_server(connected, sock=sock, limit=MAX_LINE)

    async def stop() -> None:
        server.close()
        for reader, writer in connections.values():
            writer.transport.pause_reading()    # type: ignore[attr-defined]  # typeshed lacks it
            reader.feed_eof()       # what was read already is answered
        if connections:
            await asyncio.wait([*connections], timeout=STOP_TIMEOUT)

    return stop


async def _converse(look_up: LookUp, reader: asyncio.StreamReader,
                    writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ValueError):      # ValueError: beyond MAX_LINE
        while (line := await reader.readline()).endswith(b"\n"):
            writer.write(await _answer(look_up, line.split()))
            await writer.drain()
    writer.close()


async def _answer(look_up: LookUp, words: list[bytes]) -> bytes:
    if len(words) != 2 or words[0] != b"get":
        return b"ERROR\r\n"
    try:
        value = await look_up(words[1])
    except Exception as error:
        log.error("a lookup failed: %s", logs.place(error))
        return b"SERVER_ERROR the lookup failed\r\n"
    if value is None:
        return b"END\r\n"
    return b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (words[1], len(value), value)
