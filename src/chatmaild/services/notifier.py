"""``chatmaild notifier``: the only service besides the incoming filter's DNS that has a network.

It takes announcements from metadata (and probes from push-test) on a local socket and passes the
tokens on to the push gateway. It knows no mail address.
"""

import argparse
import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable

from chatmaild import config, runtime
from chatmaild.console import Console
from chatmaild.errors import ConfigError
from chatmaild.pushgateway import Gateway
from chatmaild.pushsender import Sender
from chatmaild.store.pushqueue import PushQueue
from chatmaild.wire import handover
from chatmaild.wire.handover import Announce, Gone, Probe, Probed, Stored

QUEUE = "queue.sqlite"
"""In push_queue_dir."""

log = logging.getLogger(__name__)


class Notifier:
    """The connections from metadata and push-test, and the sender behind them.

    Make it inside a running event loop.
    """

    def __init__(self, queue: PushQueue, settings: config.Config):
        self._clients: set[asyncio.StreamWriter] = set()
        self._gateway = Gateway(settings.push_gateway)
        self.sender = Sender(queue, self._gateway, settings.push_max_requests, self._tell_gone)
        self.configure(settings)

    def configure(self, settings: config.Config) -> None:
        """Use these settings from now on; requests under way end as they began."""
        self._gateway.url = settings.push_gateway
        self.sender.breaker.limit = settings.push_max_requests
        self.sender.enabled = any(domain.push for domain in settings.domains.values())
        self.sender.wake()

    async def serve(self, sock) -> Callable[[], Awaitable[None]]:
        """Accept on `sock`; returns the coroutine function that ends the service."""
        server = await asyncio.start_unix_server(self._talk, sock=sock, limit=handover.MAX_LINE)
        sending = asyncio.create_task(self.sender.run())

        async def stop() -> None:
            server.close()
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
            await self.sender.stop()
            for client in list(self._clients):
                client.close()
            await self._gateway.close()

        return stop

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                match handover.decode(line):
                    case Announce(number, ref, tokens):
                        confirm = functools.partial(self._confirm, writer, number)
                        self.sender.announce(ref, tokens, confirm)
                    case Probe(ref, token):
                        answer = await self._gateway.notify(token)
                        self.sender.judge(ref, token, answer)
                        writer.write(handover.encode(Probed(answer.status, answer.text)))
                    case _:
                        raise handover.HandoverError("a line that only the notifier says")
        except (OSError, ValueError) as error:
            log.warning("closing a connection to the notifier's socket: %s", error)
        finally:
            self._clients.discard(writer)
            writer.close()

    def _confirm(self, writer: asyncio.StreamWriter, number: int) -> None:
        if writer in self._clients:
            writer.write(handover.encode(Stored(number)))

    def _tell_gone(self, ref: str, token: str) -> None:
        for client in self._clients:
            client.write(handover.encode(Gone(ref, token)))


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", metavar="SPEC",
                        help="listen on unix:/path, inet:port@host or fd:N (default: the socket "
                        "handed over by systemd)")


def run(args: argparse.Namespace, console: Console) -> int:
    runtime.setup_logging()
    settings = config.load(args.config)
    queue = PushQueue(settings.push_queue_dir / QUEUE)
    sock = runtime.listening_socket(args.socket)
    notifier: Notifier | None = None

    async def start() -> Callable[[], Awaitable[None]]:
        nonlocal notifier
        notifier = Notifier(queue, settings)
        return await notifier.serve(sock)

    def reload() -> None:
        try:
            notifier.configure(config.load(args.config))
            log.info("configuration read again")
        except ConfigError as error:
            for problem in error.problems:
                log.error("keeping the old configuration: %s", problem)

    try:
        runtime.run_asyncio(start, reload)
    finally:
        queue.close()
    return 0
