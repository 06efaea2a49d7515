"""TXT records from the DNS, for threads that must not wait long: the only importer of dnspython.

One thread runs an asyncio loop for all lookups; the callers, who sit in threads of libmilter,
wait for results under limits. While they wait, a process of Postfix's smtpd waits with them, so
what the limits protect is everybody else's mail.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent import futures
from pathlib import Path

from chatmaild.errors import UsageError
from chatmaild.slimimport import absent

# Neither TLS nor an HTTP client, for transports that are not used here: 18 MB of memory.
# (dnspython 2.7 looks for HTTP clients without importing them, and can be told not to.)
with absent("ssl", "httpx", "requests"):
    try:
        from dns import _features
        _features.force("doh", False)
    except ImportError:
        pass
    import asyncio

    import dns.asyncresolver
    import dns.exception
    import dns.message
    import dns.name
    import dns.rdatatype
    import dns.resolver
    import dns.zone

DNS_TIME = 4.5
"""Seconds that all lookups of one message may take together: with all else they stay below 5."""

RETRY_AFTER = 1.5
"""Seconds until a server that does not answer is asked again, or the next one is."""

MAX_WAITING = 50
"""Callers that wait at once; half of Postfix's default_process_limit, which they would exhaust."""

MAX_WAITING_LONG = 20
"""Callers that may wait longer than `SHORT_WAIT`."""

SHORT_WAIT = 0.5
"""Seconds: nearly every answer has come by then."""

MAX_LOOKUPS = 200
"""Lookups under way at once, waited for or not."""

MAX_NAMES = 2000
"""Names in the cache."""

MAX_ANSWER = 8192
"""Octets of TXT records kept of one answer; records beyond that are dropped."""

MAX_TTL = 86400
MAX_NEGATIVE_TTL = 60
"""Seconds for which a missing key is remembered: its owner may be publishing it just now."""

FAILURE_TTL = 30
"""Seconds for which a name that got no answer is not asked for again."""

RESOLV_CONF = Path("/etc/resolv.conf")

Records = tuple[bytes, ...] | None
"""The TXT records of a name; none if it has none; None if the DNS could not tell."""


class Resolver:
    """A caching stub resolver for TXT records. Any thread may call it."""

    def __init__(self, servers: tuple[tuple[str, int], ...] = ()):
        """`servers` are (address, port); none means those of the host, from resolv.conf(5)."""
        self._servers = servers
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, tuple[float, Records]] = OrderedDict()
        self._running: dict[str, futures.Future] = {}
        self._waiting = threading.Semaphore(MAX_WAITING)
        self._waiting_long = threading.Semaphore(MAX_WAITING_LONG)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stub: dns.asyncresolver.Resolver | None = None
        self._stub_made_from: tuple | None = None

    def look_up(self, names: Iterable[str]) -> dict[str, Records]:
        """What the DNS holds at `names`; blocks for `DNS_TIME` seconds at most."""
        deadline = time.monotonic() + DNS_TIME
        known, pending = {}, {}
        with self._lock:
            for name in names:
                expires, records = self._cache.get(name, (0.0, None))
                if expires > time.monotonic():
                    self._cache.move_to_end(name)
                    known[name] = records
                else:
                    pending[name] = self._future(name)
        self._wait(pending.values(), deadline)
        return known | {name: future.result() if _has_result(future) else None
                        for name, future in pending.items()}

    def _wait(self, pending: Iterable[futures.Future], deadline: float) -> None:
        """Wait for `pending` until `deadline` (monotonic), or less long if many wait already."""
        pending = [future for future in pending if not future.done()]
        if not pending or not self._waiting.acquire(blocking=False):
            return
        try:
            left = max(0.0, deadline - time.monotonic())
            _, late = futures.wait(pending, min(SHORT_WAIT, left))
            if late and self._waiting_long.acquire(blocking=False):
                try:
                    futures.wait(late, max(0.0, deadline - time.monotonic()))
                finally:
                    self._waiting_long.release()
        finally:
            self._waiting.release()

    def _future(self, name: str) -> futures.Future:
        """The lookup of a name, begun if need be. Needs the lock."""
        if name in self._running:
            return self._running[name]
        if self._loop is None:
            self._loop = _started_loop()
        while len(self._running) >= MAX_LOOKUPS:
            # The oldest gives way: what gets an answer got it long ago, and whoever has a dead
            # zone must not keep the keys of everybody else from being looked up.
            self._running.pop(next(iter(self._running))).cancel()
        future = asyncio.run_coroutine_threadsafe(self._fetch(name), self._loop)
        self._running[name] = future
        return future

    async def _fetch(self, name: str) -> Records:
        records, ttl = None, FAILURE_TTL
        try:
            records, ttl = await self._ask(name)
        except (dns.exception.DNSException, OSError):
            pass  # that the DNS could not tell is an answer too, and kept for a while
        finally:
            with self._lock:
                if self._running.pop(name, None):   # else it gave way, and nothing is known
                    self._cache[name] = (time.monotonic() + ttl, records)
                    self._cache.move_to_end(name)
                    while len(self._cache) > MAX_NAMES:
                        self._cache.popitem(last=False)
        return records

    async def _ask(self, name: str) -> tuple[Records, float]:
        try:
            answer = await self._current_stub().resolve(
                dns.name.from_text(name), dns.rdatatype.TXT,
                raise_on_no_answer=False, lifetime=DNS_TIME, search=False,
            )
        except dns.resolver.NXDOMAIN as error:
            response = next(iter(error.responses().values()))
            return (), min(response.resolve_chaining().minimum_ttl, MAX_NEGATIVE_TTL)
        records, ttl = _texts(answer.rrset or ()), answer.chaining_result.minimum_ttl
        return records, min(ttl, MAX_TTL if records else MAX_NEGATIVE_TTL)

    def _current_stub(self) -> dns.asyncresolver.Resolver:
        """The stub for the present resolv.conf, which may change while we run."""
        made_from = self._servers or _stamp(RESOLV_CONF)
        if self._stub is None or made_from != self._stub_made_from:
            if self._servers:
                self._stub = dns.asyncresolver.Resolver(configure=False)
                self._stub.nameservers = [address for address, _ in self._servers]
                self._stub.nameserver_ports = dict(self._servers)
            else:
                self._stub = dns.asyncresolver.Resolver(str(RESOLV_CONF))
            self._stub.timeout = RETRY_AFTER
            self._stub.use_edns(0, payload=1232)
            self._stub_made_from = made_from
        return self._stub


class ZoneFile:
    """TXT records from a file in master format (RFC 1035 section 5), instead of the DNS."""

    def __init__(self, path: Path):
        """Raises `UsageError` if the file cannot be read or understood."""
        try:
            text = path.read_text("utf-8", "replace")
            self._zone = dns.zone.from_text(
                "$TTL 3600\n" + text, origin=dns.name.root, relativize=False, check_origin=False,
            )
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        except (dns.exception.DNSException, ValueError) as error:
            raise UsageError(
                f"{path}: not a zone file ({error}); write lines like "
                'mail._domainkey.example.org. TXT "v=DKIM1; p=..."'
            ) from None

    def look_up(self, names: Iterable[str]) -> dict[str, Records]:
        return {name: self._records(dns.name.from_text(name)) for name in names}

    def _records(self, name: dns.name.Name) -> tuple[bytes, ...]:
        for _ in range(8):  # links of a chain of aliases
            alias = self._zone.get_rdataset(name, dns.rdatatype.CNAME)
            if alias is None:
                break
            name = alias[0].target
        return _texts(self._zone.get_rdataset(name, dns.rdatatype.TXT) or ())


def _has_result(future: futures.Future) -> bool:
    return future.done() and not future.cancelled()


def _started_loop() -> asyncio.AbstractEventLoop:
    """A loop that runs in a thread of its own. Raises RuntimeError if there can be no thread."""
    loop = asyncio.new_event_loop()
    try:
        threading.Thread(target=loop.run_forever, name="dns", daemon=True).start()
    except RuntimeError:
        loop.close()
        raise
    return loop


def _texts(rdatas: Iterable) -> tuple[bytes, ...]:
    """The records, each with its character strings joined; no more than `MAX_ANSWER` octets."""
    texts, size = [], 0
    for rdata in rdatas:
        text = b"".join(rdata.strings)
        size += len(text)
        if size <= MAX_ANSWER:
            texts.append(text)
    return tuple(texts)


def _stamp(path: Path) -> tuple:
    try:
        info = os.stat(path)
    except OSError:
        return ()
    return info.st_ino, info.st_size, info.st_mtime_ns
