"""Waits for each message that Dovecot announced, and has the phones ring.

A delivery does not wait for us and does not need us: what it leaves behind is a file, and the
message. Since the file comes first, the mailbox is looked at a moment later, and again after ever
longer pauses, until there are as many new messages as files, or `PATIENCE` has passed.
"""

import asyncio
import contextlib
import heapq
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from chatmaild.accounts.mailboxes import Mailbox
from chatmaild.daemon import logs
from chatmaild.errors import StoreError
from chatmaild.push import newmail
from chatmaild.push.arrivals import Arrival, Arrivals

ROUND = 0.003
SHARE = 0.05
"""Seconds from one round to the next at least, and the share of the time that rounds take at most:
the busier a host, the more arrivals share a round."""

FIRST_LOOK = 0.002
"""Seconds until a mailbox is looked at for the first time; the pauses double from then on."""

LONGEST_PAUSE = 60.0
PATIENCE = 600.0
"""Seconds to the next look at most, and that a delivery may take."""

QUIET = 1.0
"""Seconds after a ring until the next one of the same account: a burst rings twice."""

CLOSEST = 0.02
"""Seconds between looks for new arrivals of the same account. A device that is online may fetch
and delete a message at once, and the others shall ring all the same; so this is no longer."""

LONGEST_REST = 0.05
"""Seconds; a round that took long because the machine was busy must not cost more."""

INTERVAL = 5.0
"""Seconds between two rounds where the kernel tells nothing, and after trouble."""

log = logging.getLogger(__name__)


@dataclass
class _Expected:
    """An account that is about to get mail. Times but `since` are of the loop's clock."""

    mailbox: Mailbox
    arrivals: list[Arrival] = field(default_factory=list)
    awaited: int = 0
    """Messages that have not been seen yet."""
    since: float = float("inf")
    """Seconds since the epoch: only what was saved later counts."""
    seen: set[str] = field(default_factory=set)
    latest: float = 0.0
    """When its last arrival was seen."""
    pause: float = FIRST_LOOK
    due: float = 0.0
    has_news: bool = False
    """A message was seen that has not rung yet."""
    saw: float = float("-inf")
    rang: float = float("-inf")
    """When such a message was last seen, and when the phones last rang."""
    under_way: int = 0
    """Rings that the notifier has not confirmed."""


class Deliveries:
    """Looks into `directory`; `find` tells the mailbox of an address if it has devices to ring.

    `prepare` is called in a thread with a mailbox that has news. `ring` is called in the event
    loop with the mailbox and a function, to be called when it need not be told again.
    """

    def __init__(self, directory: Path, find: Callable[[str], Mailbox | None],
                 prepare: Callable[[Mailbox], None],
                 ring: Callable[[Mailbox, Callable[[], None]], None]):
        self._arrivals = Arrivals(directory)
        self._find = find
        self._prepare = prepare
        self._ring = ring
        self._expected: dict[str, _Expected] = {}
        self._due: list[tuple[float, str]] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "deliveries")

    async def run(self) -> None:
        """Look, until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGIO, self._wake.set)
        is_ready, complained = False, False
        try:
            while True:
                try:
                    if not is_ready:
                        self._arrivals.prepare()
                    is_ready = True
                    begun = loop.time()
                    self._wake.clear()
                    self._arrivals.watch()
                    await self._round(loop)
                    rest = min(max(ROUND, (loop.time() - begun) / SHARE), LONGEST_REST)
                    complained = False
                except Exception as error:
                    if not complained:
                        log.error("%s; no phone rings until that is over", _explain(error))
                    is_ready, complained, rest = False, True, INTERVAL
                await asyncio.sleep(rest)
                pause = self._due[0][0] - loop.time() if self._due else INTERVAL
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(max(pause, 0), INTERVAL)):
                        await self._wake.wait()
        finally:
            self._thread.shutdown()
            self._arrivals.close()      # before: without a handler SIGIO kills
            loop.remove_signal_handler(signal.SIGIO)

    async def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        now, names = loop.time(), []
        while self._due and self._due[0][0] <= now:
            due, name = heapq.heappop(self._due)
            expected = self._expected.get(name)
            if expected and expected.due == due:    # else it was moved to another time
                expected.due = 0.0
                names.append(name)
        try:
            arrived, news = await loop.run_in_executor(self._thread, self._look, names)
        except Exception:
            for name in names:
                self._look_again(name, now + INTERVAL)
            raise
        now = loop.time()
        for name in names:
            self._looked(name, name in news, now)
        for arrival in arrived:
            self._expect(arrival, now)

    def _look(self, names: list[str]) -> tuple[list[Arrival], set[str]]:
        """What arrived, and which of `names` have a message now that is not from themselves."""
        news = {name for name in names if self._has_news(self._expected[name])}
        return self._arrivals.claim(), news

    def _has_news(self, expected: _Expected) -> bool:
        if expected.awaited <= 0:
            return False
        owner, home = expected.mailbox.address, expected.mailbox.home
        found = newmail.saved_since(home, expected.since)
        fresh = found.keys() - expected.seen
        expected.seen |= fresh
        expected.awaited -= len(fresh)
        if all(newmail.is_from(owner, found[each]) for each in fresh):
            return False
        try:
            self._prepare(expected.mailbox)
        except StoreError as error:
            log.error("%s", error)
        return True

    def _expect(self, arrival: Arrival, now: float) -> None:
        expected = self._expected.get(arrival.address)
        if not expected:
            mailbox = self._find(arrival.address)
            if mailbox is None:
                self._arrivals.done(arrival)
                return
            expected = self._expected[arrival.address] = _Expected(mailbox)
        if expected.awaited <= 0:
            expected.awaited, expected.since = 0, float("inf")
            expected.seen.clear()
        expected.arrivals.append(arrival)
        expected.awaited += 1
        expected.since = min(expected.since, arrival.since)
        expected.latest, expected.pause = now, FIRST_LOOK
        self._look_again(arrival.address, max(now + FIRST_LOOK, expected.saw + CLOSEST))

    def _look_again(self, name: str, due: float) -> None:
        self._expected[name].due = due
        heapq.heappush(self._due, (due, name))

    def _looked(self, name: str, has_news: bool, now: float) -> None:
        expected = self._expected[name]
        if now - expected.latest > PATIENCE:
            expected.awaited = 0
        if has_news:
            expected.saw, expected.has_news = now, True
        quiet = expected.rang + QUIET
        if expected.has_news and now >= quiet:
            expected.has_news, expected.rang, quiet = False, now, now + QUIET
            expected.under_way += 1
            self._ring(expected.mailbox, lambda: self._confirmed(expected))
        self._release(expected)
        if not expected.arrivals and now >= quiet:
            del self._expected[name]
        else:
            expected.pause = min(expected.pause * 2, LONGEST_PAUSE)
            due = now + expected.pause
            if expected.awaited <= 0:
                due = max(due, quiet)
            if expected.has_news:
                due = min(due, quiet)
            self._look_again(name, due)

    def _confirmed(self, expected: _Expected) -> None:
        expected.under_way -= 1
        self._release(expected)

    def _release(self, expected: _Expected) -> None:
        if expected.awaited <= 0 and not (expected.under_way or expected.has_news):
            for arrival in expected.arrivals:
                self._arrivals.done(arrival)
            expected.arrivals.clear()


def _explain(error: Exception) -> str:
    """What went wrong; of what is not ours only the place, because the text may hold anything."""
    if isinstance(error, StoreError):
        return str(error)
    return logs.place(error)
