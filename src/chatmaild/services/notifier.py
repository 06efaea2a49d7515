"""``chatmaild notifier``: sends notifications to the push gateway.

It takes announcements from metadata (and probes from push-test) on a local socket and passes the
tokens on to the gateway. It knows no mail address. It is the only service with a network, apart
from the incoming filter's DNS.
"""

import argparse
import asyncio
import functools
import logging
import os
import socket
import time

from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import eventloop, metricsocket, sockets
from chatmaild.daemon.sighup import ConfigFile
from chatmaild.disk import atomic
from chatmaild.push import metrics as push_metrics, protocol
from chatmaild.push.gateway import Gateway
from chatmaild.push.metrics import Standing
from chatmaild.push.protocol import Announce, Gone, Probe, Probed, Stored
from chatmaild.push.queue import PushQueue
from chatmaild.push.sender import Sender

QUEUE = "queue.sqlite"
"""In push_queue_dir."""

log = logging.getLogger(__name__)


class Notifier:
    """The connections from metadata and push-test, and the sender behind them.

    Make it inside a running event loop.
    """

    def __init__(self, queue: PushQueue, config: Config):
        self._clients: set[asyncio.StreamWriter] = set()
        self._gateway = Gateway(config.push_gateway)
        self.sender = Sender(queue, self._gateway, config.push_max_requests, self._tell_gone)
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Use this configuration from now on; requests under way end as they began."""
        self._metrics = config.push_metrics_file
        self._complained = False
        self._gateway.url = config.push_gateway
        self.sender.breaker.limit = config.push_max_requests
        self.sender.enabled = any(domain.push for domain in config.domains.values())
        self.sender.wake()

    async def serve(self, sock: socket.socket) -> eventloop.Stop:
        """Accept connections on `sock`; returns the coroutine function that ends the service."""
        # Not start_unix_server: since Python 3.13 it removes the socket, which is systemd's.
        server = await asyncio.start_server(self._talk, sock=sock, limit=protocol.MAX_LINE)
        self.sender.start()
        publishing = asyncio.create_task(self._publish())

        async def stop() -> None:
            server.close()
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await self.sender.stop()
            for client in list(self._clients):
                client.close()
            await self._gateway.close()

        return stop

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                match protocol.decode(line):
                    case Announce(number, ref, tokens):
                        confirm = functools.partial(self._confirm, writer, number)
                        self.sender.announce(ref, tokens, confirm)
                    case Probe(ref, token):
                        answer = await self._gateway.notify(token)
                        self.sender.judge(ref, token, answer)
                        writer.write(protocol.encode(Probed(answer.status, answer.text)))
                    case _:
                        raise protocol.ProtocolError("a line that only the notifier says")
        except (OSError, ValueError) as error:
            log.warning("closing a connection to the notifier's socket: %s", error)
        finally:
            self._clients.discard(writer)
            writer.close()

    def _confirm(self, writer: asyncio.StreamWriter, number: int) -> None:
        if writer in self._clients:
            writer.write(protocol.encode(Stored(number)))

    async def _publish(self) -> None:
        """Write the metrics periodically."""
        while True:
            text = push_metrics.render(self._standing(time.time()))
            try:
                atomic.write_file(os.fspath(self._metrics), text.encode(), mode=0o644)
            except OSError as error:
                if not self._complained:
                    log.error("push_metrics_file %s: %s; there are no metrics until it can be "
                              "written", self._metrics, error.strerror)
                self._complained = True
            else:
                self._complained = False
            await asyncio.sleep(push_metrics.INTERVAL)

    def metrics(self) -> str:
        """Return the metrics as text for Prometheus."""
        return push_metrics.render(self._standing(time.time()), (("service", "notifier"),))

    def _standing(self, now: float) -> Standing:
        counters, backlog = self.sender.counters, self.sender.backlog
        return Standing(
            sent=counters.sent, failed=counters.failed, expired=counters.expired,
            gone=counters.gone, queued=backlog.length,
            oldest_seconds=0.0 if backlog.oldest is None else max(0.0, now - backlog.oldest),
            gateway_is_up=int(not self.sender.breaker.is_open(now)), timestamp=now)

    def _tell_gone(self, ref: str, token: str) -> None:
        for client in self._clients:
            client.write(protocol.encode(Gone(ref, token)))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    sockets.configure(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve until told to stop."""
    file = ConfigFile.of(args)
    config = file.load()
    # First, or root, who starts this by hand in vain, would leave a queue that the service cannot
    # open.
    sock = sockets.listening(args.socket)
    queue = PushQueue(config.push_queue_dir / QUEUE)

    async def start() -> eventloop.Running:
        notifier = Notifier(queue, config)
        running = eventloop.Running(notifier.configure, await notifier.serve(sock))
        metricsocket.serve(config, args.command, notifier.metrics)
        return running

    try:
        eventloop.run(start, file)
    finally:
        queue.close()
    return 0
