"""``chatmaild metadata``: the dict behind Dovecot's IMAP METADATA for chat users.

Dovecot's imap processes speak to metadata.sock: clients set their device token and read what the
admin has configured. Deliveries ring the phones. `push.deliveries` finds those of Dovecot's lmtp;
another delivery agent announces its own by setting `messagenew` on metadata-lmtp.sock.
"""

import argparse
import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import dictproto, dictserver, eventloop, logs, metricsocket, process, sockets
from chatmaild.daemon.sighup import ConfigFile
from chatmaild.errors import StoreError, UsageError
from chatmaild.metrics import Counter, render
from chatmaild.push import arrivals
from chatmaild.push.clientkeys import ClientKeys
from chatmaild.push.deliveries import Deliveries
from chatmaild.push.notifierclient import SOCKET, Done, NotifierClient
from chatmaild.push.protocol import MAX_TOKEN_LENGTH, is_token
from chatmaild.push.tokens import DeviceTokens

_SERVER = rb"vendor/vendor\.dovecot/pvt/server/"
_TOKEN_KEY = re.compile(rb"priv/[^/]+/(?:%b)?devicetoken" % _SERVER)
_NEWS_KEY = re.compile(rb"priv/[^/]+/(?:%b)?messagenew" % _SERVER)
_SHARED_KEY = re.compile(rb"shared/[^/]+/%b(.+)" % _SERVER, re.DOTALL)

EXPIRE_INTERVAL = 86_400.0
"""Seconds between two searches for expired tokens."""

REFUSAL_TIME = 1.0
"""Seconds that it takes to refuse a change. Dovecot writes a line for each, and with a thousand a
second one client could fill the disk."""

NO_SUCH_KEY = b"Fno such key\n"
BAD_TOKEN = b"Fnot a device token\n"

log = logging.getLogger(__name__)

T = TypeVar("T")


class PushAccounts:
    """What the two dict services share: configuration, tokens, and the notifier's client."""

    def __init__(self, config: Config, notifier: Path):
        self.label = logs.AddressLabel(config.log_addresses)
        self.tokens = DeviceTokens(config.push_tokens_dir)
        self.tokens.prepare()
        self.notifier = NotifierClient(notifier, self._current, self._gone)
        self._worker = ThreadPoolExecutor(1, "tokens")
        self._tasks: set[asyncio.Task[None]] = set()
        self.announced = Counter("chatmaild_push_announced_total",
                                 "Deliveries for which the notifier was asked to ring.")
        self.registered = Counter("chatmaild_push_registrations_total",
                                  "Device tokens that clients set.")
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Use this configuration from now on."""
        self.label.plain = config.log_addresses
        self._mailboxes = Mailboxes(config)
        self.keys = {name: ClientKeys(domain) for name, domain in config.domains.items()}

    def find(self, user: str) -> Mailbox | None:
        """Return the mailbox of `user`; None if `user` is no chat address."""
        return self._mailboxes.find(user)

    def find_to_ring(self, user: str) -> Mailbox | None:
        """Return the mailbox of `user` if it has devices to ring."""
        mailbox = self.find(user)
        if mailbox is None or not mailbox.domain.push:
            return None
        try:
            has_tokens = self._current(self.tokens.ref(mailbox.address))
        except StoreError as error:
            log.error("%s", error)
            return None
        return mailbox if has_tokens or self.tokens.is_from_relay(mailbox.home) else None

    def in_worker(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run `work`, which waits for the disk, where nobody else has to wait for it."""
        return asyncio.get_running_loop().run_in_executor(self._worker, work, *args)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task that `close` cancels."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def announce(self, mailbox: Mailbox, done: Done | None = None) -> None:
        """Announce a new message in `mailbox`: ring now, or when the notifier is back."""
        try:
            self.notifier.announce(self.tokens.ref(mailbox.address), done)
            self.announced.add()
        except StoreError as error:
            log.error("%s", error)

    def take_over(self, mailbox: Mailbox) -> None:
        """Import the tokens of a chatmail relay in `mailbox`. Blocks; raises `StoreError`."""
        if self.tokens.is_from_relay(mailbox.home):
            self.tokens.take_over(self.tokens.ref(mailbox.address), mailbox.home, time.time())

    async def take_over_and_announce(self, mailbox: Mailbox) -> None:
        """Do both, in this order; a failure to take over is logged."""
        await self.in_worker(_logged, self.take_over, mailbox)
        self.announce(mailbox)

    async def expire(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
                     clock: Callable[[], float] = time.time) -> None:
        """Remove expired tokens, once a day.

        Not at the start, nor by a clock that has jumped: a phone that only wakes up when it rings
        would never set its token again.
        """
        before = clock()
        while True:
            await sleep(EXPIRE_INTERVAL)
            now = clock()
            if now - before < 2 * EXPIRE_INTERVAL:
                await self.in_worker(_logged, self.tokens.expire, now)
            before = now

    async def close(self) -> None:
        """Let the notifier confirm what was announced, then end all tasks."""
        await self.notifier.settle()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._worker.shutdown()

    def _current(self, ref: str) -> tuple[str, ...]:
        return self.tokens.current(ref, time.time())

    def _gone(self, ref: str, token: str) -> None:
        self.in_worker(_logged, self.tokens.remove, ref, token)


def _logged(work: Callable[..., object], *args: Any) -> None:
    try:
        work(*args)
    except StoreError as error:
        log.error("%s", error)


class Metadata(dictserver.Service):
    """Serves clients, who set and read keys, on metadata.sock."""

    def __init__(self, accounts: PushAccounts, refusal_time: float = REFUSAL_TIME):
        self.accounts = accounts
        self._refusal_time = refusal_time

    def lookup(self, request: dictproto.Lookup, hello: dictproto.Hello) -> dictserver.Answer:
        """Answer with the device tokens of a user, or with a key of their domain."""
        mailbox = self.accounts.find(_text(request.user))
        if mailbox is None:
            return dictproto.NOT_FOUND
        if _TOKEN_KEY.fullmatch(request.key):
            tokens = self.accounts.tokens
            current = tokens.current(tokens.ref(mailbox.address), time.time())
            return _answer(" ".join(current).encode() or None)
        shared = _SHARED_KEY.fullmatch(request.key)
        if not shared:
            return dictproto.NOT_FOUND
        value = self.accounts.keys[mailbox.domain.name].value(shared[1])
        return _awaited(value) if isinstance(value, Awaitable) else _answer(value)

    def commit(self, transaction: dictserver.Committed) -> dictserver.Answer:
        """Set or remove device tokens; every other key is refused."""
        # Dovecot unsets the comment of each folder that it deletes. We keep none, so ignore it.
        changes = [change for change in transaction.changes
                   if change.value is not None or _TOKEN_KEY.fullmatch(change.key)]
        if all(_NEWS_KEY.fullmatch(change.key) for change in changes):
            return dictproto.COMMITTED      # a client pretends to be a delivery: nobody rings
        mailbox = self.accounts.find(_text(transaction.user))
        if mailbox is None or not all(_TOKEN_KEY.fullmatch(change.key) for change in changes):
            return self._refused(NO_SUCH_KEY)
        tokens = [None if change.value is None else change.value.decode("utf-8", "surrogateescape")
                  for change in changes]
        if not all(token is None or is_token(token) for token in tokens):
            log.warning("%s: a device token was refused: empty, longer than %d characters, or "
                        "with blanks or control characters",
                        self.accounts.label(mailbox.address), MAX_TOKEN_LENGTH)
            return self._refused(BAD_TOKEN)
        return self.accounts.in_worker(self._write, mailbox, tokens)

    def refuse(self) -> dictserver.Answer:
        """A client sent more than we take."""
        return self._refused(dictproto.FAILURE)

    async def _refused(self, answer: bytes) -> bytes:
        await asyncio.sleep(self._refusal_time)
        return answer

    def _write(self, mailbox: Mailbox, changes: list[str | None]) -> bytes:
        """Set each token, or remove all for None."""
        if not mailbox.exists():
            return NO_SUCH_KEY
        tokens, now = self.accounts.tokens, time.time()
        ref = tokens.ref(mailbox.address)
        tokens.take_over(ref, mailbox.home, now)
        for token in changes:
            if token is None:
                tokens.clear(ref)
            else:
                tokens.add(ref, token, now)
                self.accounts.registered.add()
        return dictproto.COMMITTED


class DeliveryAgents(dictserver.Service):
    """Serves delivery agents on metadata-lmtp.sock. Acknowledges whatever they send."""

    def __init__(self, accounts: PushAccounts):
        self.accounts = accounts

    def commit(self, transaction: dictserver.Committed) -> dictserver.Answer:
        """Announce a delivery that set ``messagenew``; every other key is refused."""
        if not all(_NEWS_KEY.fullmatch(change.key) for change in transaction.changes):
            return NO_SUCH_KEY
        mailbox = self.accounts.find(_text(transaction.user))
        if mailbox is not None and mailbox.domain.push:
            if self.accounts.tokens.is_from_relay(mailbox.home):
                self.accounts.in_background(self.accounts.take_over_and_announce(mailbox))
            else:
                self.accounts.announce(mailbox)
        return dictproto.COMMITTED


def _text(user: bytes) -> str:
    return user.decode("utf-8", "replace")


def _answer(value: bytes | None) -> bytes:
    return dictproto.NOT_FOUND if value is None else dictproto.found(value)


async def _awaited(value: Awaitable[bytes | None]) -> bytes:
    return _answer(await value)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    sockets.configure(parser)
    parser.add_argument("--lmtp-socket", metavar="SPEC",
                        help="with --socket: the socket for other delivery agents")
    parser.add_argument("--arrivals", metavar="PATH", type=Path, default=arrivals.DIRECTORY,
                        help="where Dovecot's deliveries are seen "
                        f"(default: {arrivals.DIRECTORY})")
    parser.add_argument("--notifier", metavar="PATH", type=Path, default=SOCKET,
                        help=f"the notifier's socket (default: {SOCKET})")


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve until told to stop."""
    if args.lmtp_socket and not args.socket:
        raise UsageError("--lmtp-socket goes with --socket")
    file = ConfigFile.of(args)
    config = file.load()
    if args.socket:
        specs = [args.socket, args.lmtp_socket] if args.lmtp_socket else [args.socket]
        listeners = [sockets.listening(spec) for spec in specs]
    else:
        listeners = sockets.inherited(2)
    process.allow_many_descriptors()
    accounts = PushAccounts(config, args.notifier)
    metricsocket.serve(config, args.command, lambda: render(
        (each.metric() for each in (accounts.announced, accounts.registered)),
        (("service", args.command),)))

    async def start() -> eventloop.Running:
        services = (Metadata(accounts), DeliveryAgents(accounts))
        deliveries = Deliveries(args.arrivals, accounts.find_to_ring, accounts.take_over,
                                accounts.announce)
        accounts.in_background(deliveries.run())
        accounts.in_background(accounts.notifier.run())
        accounts.in_background(accounts.expire())
        stops = [await dictserver.serve(service, sock)
                 for service, sock in zip(services, listeners)]

        async def stop() -> None:
            for stop_serving in stops:
                await stop_serving()
            await accounts.close()

        return eventloop.Running(accounts.configure, stop)

    eventloop.run(start, file)
    return 0
