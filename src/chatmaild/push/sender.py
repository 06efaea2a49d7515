"""Works through the push queue: stores announcements, sends them, and retries until they are old.

One task owns the queue. Each round takes the announcements and answers since the last one, writes
them in one transaction, confirms, and starts what is due. So a busy moment costs one write to disk,
and nothing is confirmed before it is there.
"""

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from chatmaild.daemon import logs
from chatmaild.errors import StoreError
from chatmaild.push import backoff
from chatmaild.push.gateway import Answer
from chatmaild.push.queue import Backlog, Entry, PushQueue

QUIET = 1.0
"""Seconds after a notification during which announcements for the same token wait: the first
message of a burst rings at once, the others together."""

SWEEP = 15.0
"""Seconds between two sweeps, which remove what is too old and count what is waiting."""

ROUND = 0.01
"""Seconds from one round to the next at least; what is announced within them shares a write to
disk."""

DISK_PAUSE = 5.0
"""Seconds before another try after the disk has refused."""

STOP_TIMEOUT = 5.0
"""Seconds that requests under way get to end when the service stops."""

log = logging.getLogger(__name__)


@dataclass
class Counters:
    """What happened since the start."""

    sent: int = 0
    failed: int = 0
    """Attempts that failed; each is repeated."""
    expired: int = 0
    """Notifications that could not be sent within `backoff.LIFETIME`."""
    gone: int = 0
    """Tokens that the gateway does not know any more."""


_Announced = tuple[str, tuple[str, ...], Callable[[], None]]
_Change = Callable[[], None]
"""What to do with the queue within a transaction."""


class Notifies(Protocol):
    """What a gateway must be able to do."""

    async def notify(self, token: str) -> Answer:
        """Send one notification. Raises nothing."""


@dataclass(frozen=True)
class _Found:
    """What one round found in the queue."""

    due: list[Entry]
    next_due: float | None


class Sender:
    """Sends announcements through `gateway`, at most `limit` at once.

    `gone` is called with the ref and the token that the gateway no longer knows. `clock` returns
    seconds since the epoch, `spread` a random number in [0, 1).
    """

    def __init__(self, queue: PushQueue, gateway: Notifies, limit: int,
                 gone: Callable[[str, str], None], *,
                 clock: Callable[[], float] = time.time,
                 spread: Callable[[], float] = random.random):
        self.counters = Counters()
        self.backlog = Backlog(0, None)
        self.enabled = True
        """While false, everything is kept and nothing is sent."""
        self._gateway = gateway
        self.breaker = backoff.Breaker(limit)
        self._queue = queue
        self._gone = gone
        self._clock = clock
        self._spread = spread
        self._announced: list[_Announced] = []
        self._answered: list[tuple[Entry, Answer]] = []
        self._requests: set[asyncio.Task[None]] = set()
        self._held: set[int] = set()
        self._quiet_until: dict[str, float] = {}
        self._next_sweep = 0.0
        self._is_resting = False
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, "queue")

    def announce(self, ref: str, tokens: tuple[str, ...], stored: Callable[[], None]) -> None:
        """Add news for each of `tokens`; calls `stored` when it is on disk."""
        self._announced.append((ref, tokens, stored))
        self._wake.set()

    def wake(self) -> None:
        """Look at the clock and the switches again."""
        self._wake.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing happens until the clock moves or somebody calls."""
        return self._is_resting and not (self._wake.is_set() or self._announced or self._answered
                                         or self._requests)

    def start(self) -> None:
        """Start to send; `stop` ends it."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # An event ends it, since a cancellation could drop answers on their way to the disk.
        while not self._stopping.is_set():
            self._wake.clear()
            begun = loop.time()
            try:
                found = await self._round(send=self.enabled)
            except Exception as error:
                reason = error if isinstance(error, StoreError) else logs.place(error)
                log.error("%s; what is announced waits in memory, the next attempt is in %g s",
                          reason, DISK_PAUSE)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), DISK_PAUSE)
                continue
            for entry in found.due:
                self._held.add(entry.id)
                request = asyncio.create_task(self._send(entry))
                self._requests.add(request)
            await asyncio.sleep(begun + ROUND - loop.time())
            await self._sleep(found.next_due)

    async def stop(self) -> None:
        """Start no more requests, let those under way end, and write what is known."""
        self._stopping.set()
        self._wake.set()
        await self._task
        if self._requests:
            await asyncio.wait(self._requests, timeout=STOP_TIMEOUT)
        for request in list(self._requests):
            request.cancel()
        try:
            await self._round(send=False)
        except StoreError as error:
            log.error("%s; some notifications may be sent twice", error)
        self._disk.shutdown()

    async def _round(self, send: bool) -> _Found:
        now = self._clock()
        announced, self._announced = self._announced, []
        answered, self._answered = self._answered, []
        written = {entry.id for entry, _ in answered}
        room = self.breaker.allowance(now, len(self._requests)) if send else 0
        sweep = not now < self._next_sweep <= now + SWEEP
        try:
            found, expired = await asyncio.get_running_loop().run_in_executor(
                self._disk, self._write, now, self._additions(announced, now),
                self._results(answered, now), sweep, room, self._held - written)
        except Exception:
            self._announced[:0] = announced
            self._answered[:0] = answered
            raise
        self._held -= written
        for _, _, stored in announced:
            stored()
        if sweep:
            self._next_sweep = now + SWEEP
            self.counters.expired += expired
        return found

    def _additions(self, announced: Sequence[_Announced], now: float) -> list[_Change]:
        for token in list(self._quiet_until):
            if now < self._quiet_until[token] <= now + QUIET:
                break
            del self._quiet_until[token]
        return [
            functools.partial(self._queue.add, token, ref, now, self._quiet_until.get(token, now))
            for ref, tokens, _ in announced for token in tokens
        ]

    def _results(self, answered: Sequence[tuple[Entry, Answer]], now: float) -> list[_Change]:
        results: list[_Change] = []
        for entry, answer in answered:
            if answer.is_done:
                results.append(functools.partial(self._queue.sent, entry, now + QUIET))
            elif answer.is_gone:
                results.append(functools.partial(self._queue.remove, entry))
            else:
                again = now + backoff.delay(entry.failures + 1, self._spread())
                results.append(functools.partial(self._queue.failed, entry, again))
        return results

    def _write(self, now: float, additions: list[_Change], results: list[_Change], sweep: bool,
               room: int, held: set[int]) -> tuple[_Found, int]:
        """Do one round's work on the disk, in the thread that may wait for it."""
        queue, expired = self._queue, 0
        if additions or results or sweep:
            with queue.transaction():
                for change in results + additions:
                    change()
                if sweep:
                    expired = queue.expire(now - backoff.LIFETIME, now + backoff.LONGEST_DELAY)
        if sweep:
            queue.tidy()
            self.backlog = queue.backlog()
        return _Found(queue.due(now, room, held), queue.next_due(now)), expired

    async def _send(self, entry: Entry) -> None:
        try:
            answer = await self._gateway.notify(entry.token)
        except Exception as error:
            log.error("a notification failed: %s", logs.place(error))
            answer = Answer(0, "unexpected error")
        now = self._clock()
        self.judge(entry.ref, entry.token, answer)
        if answer.is_done:
            self._quiet_until.pop(entry.token, None)
            self._quiet_until[entry.token] = now + QUIET
        self._answered.append((entry, answer))
        if request := asyncio.current_task():
            self._requests.discard(request)     # before the next round counts them
        self._wake.set()

    def judge(self, ref: str, token: str, answer: Answer) -> None:
        """Count `answer`, and apply it to the token and the gateway."""
        now = self._clock()
        was_open = self.breaker.is_open(now)
        if answer.is_ill:
            self.breaker.failure(now, self._spread(), answer.retry_after)
            reopens = self.breaker.reopens(now)
            if reopens is not None and not was_open:
                log.warning("the push gateway is ill (%s %s): a pause of %.0f s", answer.status,
                            answer.text, reopens - now)
        else:
            self.breaker.success()
        if answer.is_done:
            self.counters.sent += 1
        elif answer.is_gone:
            self.counters.gone += 1
            self._gone(ref, token)
        else:
            self.counters.failed += 1

    async def _sleep(self, next_due: float | None) -> None:
        """Wait until something happens or becomes due."""
        now = self._clock()
        times = (self._next_sweep, self.breaker.reopens(now), next_due if self.enabled else None)
        pause = min(when for when in times if when is not None) - now
        self._is_resting = pause > 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(pause, 0)):
                await self._wake.wait()
        self._is_resting = False
