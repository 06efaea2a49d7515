"""Looks up records in the DNS: keys for threads that must not wait long, anything for commands.

One thread runs an asyncio loop for all lookups. The callers, threads of libmilter, wait for the
results under limits. A process of Postfix's smtpd waits with each of them, so the limits protect
everybody else's mail.
"""

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

from chatmaild.dkim import resolvconf
from chatmaild.dkim.dnsquery import DnsAnswer, DnsTrouble, NameServer, ask
from chatmaild.slimimport import absent

with absent("ssl"):
    import asyncio

RESOLV_CONF = Path("/etc/resolv.conf")

MAX_TTL = 86400
"""Seconds for which records are kept at most."""

MAX_NEGATIVE_TTL = 60
"""Seconds for which a missing key is remembered; its owner may be about to publish it."""

FAILURE_TTL = 30
"""Seconds for which a name that got no answer is not looked up again."""

Records = tuple[bytes, ...] | None
"""The TXT records of a name; empty if it has none; None if the DNS gave no answer."""


@dataclass(frozen=True)
class ResolverLimits:
    """How long callers wait, and how much a resolver keeps."""

    seconds: float = 4.5
    """For all lookups of one message together, so that with all else it takes less than 5."""
    patience: float = 1.5
    """Seconds to wait for a server before the next one is asked, or the same again."""
    short_wait: float = 0.5
    """Seconds in which nearly every answer comes."""
    waiting: int = 50
    """Callers that wait at the same time: half of Postfix's default_process_limit, which they
    must not exhaust."""
    waiting_long: int = 20
    """Callers that may wait longer than `short_wait`."""
    lookups: int = 200
    """Lookups under way at the same time, whether or not a caller waits."""
    names: int = 2000
    """Names in the cache."""


class Resolver:
    """A caching stub resolver for TXT records. Any thread may call it.

    Its thread ends when nobody refers to it any more: no caller, and no lookup under way.
    """

    def __init__(self, servers: tuple[tuple[str, int], ...] = (),
                 limits: ResolverLimits = ResolverLimits(), resolv_conf: Path = RESOLV_CONF,
                 clock: Callable[[], float] = time.monotonic):
        """`servers` are (address, port); without any, those in `resolv_conf` are asked."""
        self._limits = limits
        self._clock = clock
        self._servers = _Servers(servers, resolv_conf)
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, tuple[float, Records]] = OrderedDict()
        self._running: dict[str, futures.Future[Records]] = {}
        self.counts = {"cached": 0, "found": 0, "none": 0, "failed": 0}
        """How many names were in the cache, and how many lookups ended with records, with none,
        or without an answer."""
        self._waiting = threading.Semaphore(limits.waiting)
        self._waiting_long = threading.Semaphore(limits.waiting_long)
        self._loop: asyncio.AbstractEventLoop | None = None

    def look_up(self, names: Iterable[str]) -> dict[str, Records]:
        """The TXT records at `names`. Blocks for `ResolverLimits.seconds` at most; a name without
        an answer by then has None."""
        deadline = time.monotonic() + self._limits.seconds
        known: dict[str, Records] = {}
        pending: dict[str, futures.Future[Records]] = {}
        with self._lock:
            for name in names:
                expires, records = self._cache.get(name, (0.0, None))
                if name in self._cache and expires > self._clock():
                    self._cache.move_to_end(name)
                    known[name] = records
                    self.counts["cached"] += 1
                else:
                    pending[name] = self._future(name)
        self._wait(pending.values(), deadline)
        return known | {name: future.result() if _has_result(future) else None
                        for name, future in pending.items()}

    def _wait(self, every: Collection[futures.Future[Records]], deadline: float) -> None:
        """Wait for `every` until `deadline` (monotonic), or not as long if many wait already."""
        pending = [future for future in every if not future.done()]
        if not pending or not self._waiting.acquire(blocking=False):
            return
        try:
            left = max(0.0, deadline - time.monotonic())
            _, late = futures.wait(pending, min(self._limits.short_wait, left))
            if late and self._waiting_long.acquire(blocking=False):
                try:
                    futures.wait(late, max(0.0, deadline - time.monotonic()))
                finally:
                    self._waiting_long.release()
        finally:
            self._waiting.release()

    def _future(self, name: str) -> futures.Future[Records]:
        """The lookup of a name, started if none is under way. The caller holds the lock."""
        if name in self._running:
            return self._running[name]
        if self._loop is None:
            self._loop = _started_loop()
            end = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
            end.atexit = False      # the process ends with lookups under way
        while len(self._running) >= self._limits.lookups:
            # Cancel the oldest: it is the least likely to get an answer, and a dead zone must not
            # keep others from looking up the keys they need.
            self._running.pop(next(iter(self._running))).cancel()
        future = asyncio.run_coroutine_threadsafe(self._fetch(name), self._loop)
        self._running[name] = future
        return future

    async def _fetch(self, name: str) -> Records:
        records, ttl = None, FAILURE_TTL
        try:
            answer = await self._ask(name)
            records = answer.records
            ttl = min(answer.ttl, MAX_TTL if records else MAX_NEGATIVE_TTL)
        except DnsTrouble:
            pass  # remember for a while that the DNS gave no answer
        finally:
            with self._lock:
                if self._running.pop(name, None):   # else it was cancelled, and nothing is known
                    self.counts[_word(records)] += 1
                    self._cache[name] = (self._clock() + ttl, records)
                    self._cache.move_to_end(name)
                    while len(self._cache) > self._limits.names:
                        self._cache.popitem(last=False)
        return records

    async def _ask(self, name: str) -> DnsAnswer:
        servers, tcp_only = self._servers.current()
        return await ask(servers, name, seconds=self._limits.seconds,
                         patience=self._limits.patience, tcp_only=tcp_only)


class _Servers:
    """The servers to ask: those configured, or those in resolv.conf. That file may change while
    we run; until it does, what was learnt about the servers is kept."""

    def __init__(self, configured: tuple[tuple[str, int], ...], path: Path):
        self._path = path
        self._made_from: tuple[int, ...] | None = None
        self._is_configured = bool(configured)
        self._servers = [NameServer(address, port) for address, port in configured]
        self._tcp_only = False

    def current(self) -> tuple[list[NameServer], bool]:
        """The servers, and whether to ask them by TCP only."""
        if not self._is_configured:
            stamp = _stamp(self._path)
            if stamp != self._made_from:
                found = resolvconf.parse(_text(self._path))
                self._servers = [NameServer(address) for address in found.servers]
                self._tcp_only = found.tcp_only
                self._made_from = stamp
        return self._servers, self._tcp_only


def explain_trouble(name: str, servers: tuple[tuple[str, int], ...] = (),
                    resolv_conf: Path = RESOLV_CONF) -> str:
    """Look up `name` once and tell in words why no server answered; "" if one did. Takes
    `ResolverLimits.seconds` at most."""
    limits = ResolverLimits()
    found, tcp_only = _Servers(servers, resolv_conf).current()
    try:
        asyncio.run(ask(found, name, seconds=limits.seconds, patience=limits.patience,
                        tcp_only=tcp_only))
    except DnsTrouble as trouble:
        return str(trouble)
    return ""


DnsQuestion = tuple[str, str]
"""Name and type of a record."""


def ask_all(questions: Iterable[DnsQuestion], servers: tuple[tuple[str, int], ...] = (),
            resolv_conf: Path = RESOLV_CONF) -> dict[DnsQuestion, tuple[str, ...] | DnsTrouble]:
    """Look up many records at once, for commands. Returns for each question its records as in a
    zone file (TXT as its text), or why no server answered. Takes `ResolverLimits.seconds` at most.
    """
    limits = ResolverLimits()
    found, tcp_only = _Servers(servers, resolv_conf).current()

    async def answer(question: DnsQuestion) -> tuple[str, ...] | DnsTrouble:
        try:
            told = await ask(found, question[0], kind=question[1], seconds=limits.seconds,
                             patience=limits.patience, tcp_only=tcp_only)
        except DnsTrouble as trouble:
            return trouble
        return tuple(record.decode("utf-8", "replace") for record in told.records)

    async def every(asked: list[DnsQuestion]) -> list[tuple[str, ...] | DnsTrouble]:
        return list(await asyncio.gather(*map(answer, asked)))

    asked = list(dict.fromkeys(questions))
    return dict(zip(asked, asyncio.run(every(asked))))


def _word(records: Records) -> str:
    return "failed" if records is None else "found" if records else "none"


def _has_result(future: futures.Future[Records]) -> bool:
    return future.done() and not future.cancelled()


def _started_loop() -> asyncio.AbstractEventLoop:
    """A loop in a thread of its own. Raises RuntimeError if the thread cannot be started."""
    loop = asyncio.new_event_loop()

    def run() -> None:
        loop.run_forever()
        loop.close()

    try:
        threading.Thread(target=run, name="dns", daemon=True).start()
    except RuntimeError:
        loop.close()
        raise
    return loop


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        info = os.stat(path)
    except OSError:
        return ()
    return info.st_ino, info.st_size, info.st_mtime_ns
