"""Waits for each message that Dovecot announced, and rings the phones.

A delivery neither waits for us nor needs us: it leaves behind a file, and the message. This module
looks (at the clock, for files, into mailboxes) and rings; `expectation` decides when.
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
from chatmaild.daemon import logs, signals
from chatmaild.errors import StoreError
from chatmaild.push import newmail
from chatmaild.push.arrivals import Arrival, Arrivals
from chatmaild.push.expectation import Expectation, State

ROUND = 0.003
SHARE = 0.05
"""Seconds from one round to the next at least, and the share of the time that rounds take at most:
the busier a host, the more arrivals share a round."""

LONGEST_REST = 0.05
"""Seconds; a round that took long because the machine was busy must not cost more."""

INTERVAL = 5.0
"""Seconds between two rounds where the kernel tells nothing, and after trouble."""

log = logging.getLogger(__name__)


@dataclass
class _Account:
    """An account that is about to get mail."""

    mailbox: Mailbox
    expectation: Expectation = field(default_factory=Expectation)
    arrivals: list[Arrival] = field(default_factory=list)
    """Known until no ring is owed for them."""
    due: float | None = None
    """When it is looked at next; None while it is looked at."""


@dataclass(frozen=True)
class _Look:
    """What a look into a mailbox found."""

    fresh: set[str]
    """Messages that no earlier look has found."""
    has_news: bool
    """One of them is from somebody else."""


_NOTHING = _Look(set(), False)


class Deliveries:
    """Watches `directory`. `find` returns the mailbox of an address if it has devices to ring.

    A thread calls `prepare` with a mailbox that has news. The event loop calls `ring` with the
    mailbox, and with a function for it to call when the news is safe.
    """

    def __init__(self, directory: Path, find: Callable[[str], Mailbox | None],
                 prepare: Callable[[Mailbox], None],
                 ring: Callable[[Mailbox, Callable[[], None]], None]):
        self._arrivals = Arrivals(directory)
        self._find = find
        self._prepare = prepare
        self._ring = ring
        self._accounts: dict[str, _Account] = {}
        self._due: list[tuple[float, str]] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "deliveries")

    async def run(self) -> None:
        """Watch until cancelled."""
        with signals.handled(signal.SIGIO, self._wake.set):
            try:
                await self._watch(asyncio.get_running_loop())
            finally:
                self._thread.shutdown()
                self._arrivals.close()      # first, since SIGIO kills without a handler

    async def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        is_ready, complained = False, False
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

    async def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        names = self._take_due(loop.time())
        try:
            arrived, looks = await loop.run_in_executor(self._thread, self._look, names)
        except Exception:
            for name in names:
                self._look_again(name, loop.time() + INTERVAL)
            raise
        now = loop.time()
        for name, look in looks.items():
            self._looked(name, look, now)
        for arrival in arrived:
            self._expect(arrival, now)

    def _take_due(self, now: float) -> list[str]:
        """Remove and return the accounts to look at now."""
        names = []
        while self._due and self._due[0][0] <= now:
            due, name = heapq.heappop(self._due)
            account = self._accounts.get(name)
            if account and account.due == due:      # else it was moved to another time
                account.due = None
                names.append(name)
        return names

    def _look(self, names: list[str]) -> tuple[list[Arrival], dict[str, _Look]]:
        """Return what arrived, and what came into the mailboxes of `names`.

        Changes nothing that a later round needs: if this fails, the next round finds all of it.
        """
        looks = {name: self._look_into(self._accounts[name]) for name in names}
        return self._arrivals.claim(), looks

    def _look_into(self, account: _Account) -> _Look:
        if not account.expectation.is_awaiting:
            return _NOTHING
        owner, home = account.mailbox.address, account.mailbox.home
        found = newmail.saved_since(home, account.expectation.since)
        fresh = account.expectation.unseen(found)
        if all(newmail.is_from(owner, found[each]) for each in fresh):
            return _Look(fresh, False)
        try:
            self._prepare(account.mailbox)
        except StoreError as error:
            log.error("%s", error)
        return _Look(fresh, True)

    def _expect(self, arrival: Arrival, now: float) -> None:
        account = self._accounts.get(arrival.address)
        if not account:
            mailbox = self._find(arrival.address)
            if mailbox is None:
                self._arrivals.done(arrival)
                return
            account = self._accounts[arrival.address] = _Account(mailbox)
        account.arrivals.append(arrival)
        self._look_again(arrival.address, account.expectation.announced(arrival.since, now))

    def _look_again(self, name: str, due: float) -> None:
        self._accounts[name].due = due
        heapq.heappush(self._due, (due, name))

    def _looked(self, name: str, look: _Look, now: float) -> None:
        account = self._accounts[name]
        account.expectation.looked(look.fresh, look.has_news, now)
        if account.expectation.take_ring(now):
            self._ring(account.mailbox, lambda: self._confirmed(account))
        if self._forget_arrivals(account, now) is State.OVER:
            del self._accounts[name]
        else:
            self._look_again(name, account.expectation.next_look(now))

    def _confirmed(self, account: _Account) -> None:
        account.expectation.confirmed()
        self._forget_arrivals(account, asyncio.get_running_loop().time())

    def _forget_arrivals(self, account: _Account, now: float) -> State:
        """Forget arrivals that no ring is owed for. Returns the state of the account."""
        state = account.expectation.state(now)
        if state.is_settled:
            for arrival in account.arrivals:
                self._arrivals.done(arrival)
            account.arrivals.clear()
        return state


def _explain(error: Exception) -> str:
    """Describe an error; of foreign ones only the place, because their text may hold anything."""
    if isinstance(error, StoreError):
        return str(error)
    return logs.place(error)
