"""A push gateway for tests: a small HTTP/1.1 server on a loopback port, in the test's own loop."""

import asyncio
import collections
import contextlib


class FakeGateway:
    """Answers POSTs with `status`; records the tokens it was sent, in order.

    `delay` seconds pass before an answer; `hang_up` closes the connection in the middle of a
    request instead; `verdicts` gives single tokens a status of their own; `tls` is a context.
    """

    def __init__(self, status=200, delay=0.0, tls=None):
        self.status = status
        self.tls = tls
        self.delay = delay
        self.hang_up = False
        self.headers = ""
        self.verdicts = {}
        self.tokens = []
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self.port = 0
        self._changed = asyncio.Event()
        self._server = None
        self._handlers = set()

    @property
    def url(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/notify"

    @property
    def counts(self):
        return collections.Counter(self.tokens)

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *args):
        await self.stop()

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port,
                                                  ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        """Be gone: connections are refused, those that are open end."""
        self._server.close()
        for handler in list(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def until(self, condition, timeout=60.0):
        """Wait for `condition()`, looked at after each request."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _serve(self, reader, writer):
        self.connections += 1
        self._handlers.add(asyncio.current_task())
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await self._answer(reader, writer)
        finally:
            self._handlers.discard(asyncio.current_task())
            writer.close()

    async def _answer(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("post /notify http/1.1")
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        if self.hang_up:
            self.tokens.append("")
            self._changed.set()
            raise ConnectionError
        token = (await reader.readexactly(length)).decode()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
        finally:
            self.at_once -= 1
        self.tokens.append(token)
        status = self.verdicts.get(token, self.status)
        writer.write(f"HTTP/1.1 {status} Said\r\n{self.headers}Content-Length: 2\r\n\r\nok"
                     .encode())
        self._changed.set()
