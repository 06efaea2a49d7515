"""Tells the notifier about news, without ever waiting for it.

This module keeps the `ref` of an account with news until the notifier confirms that it is on disk.
A notifier that ended in between is told again. Data in the socket outlives us: the kernel holds it,
with socket activation in systemd's listening socket.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from chatmaild.errors import ChatmaildError, StoreError
from chatmaild.push import protocol
from chatmaild.push.protocol import Announce, Gone, Probe, Probed, Stored

SOCKET = Path("/run/chatmaild/notifier.sock")

WINDOW = 512
"""Announcements that may be under way at once; more wait as a `ref`."""

MAX_WAITING = 100_000
"""Accounts with news that may wait for a notifier that is away; 20 MB at most."""

RECONNECT = 1.0
"""Seconds between two attempts to reach a notifier that is away."""

STOP_TIMEOUT = 3.0
"""Seconds that the notifier gets to confirm the last announcements."""

PROBE_TIMEOUT = 40.0

Done = Callable[[], None]

log = logging.getLogger(__name__)


class NotifierClient:
    """The connection to the notifier that listens at `path`.

    `tokens` returns the tokens of a ref when they are needed. `gone` is called with a ref and a
    token that the gateway no longer knows.
    """

    def __init__(self, path: Path, tokens: Callable[[str], tuple[str, ...]],
                 gone: Callable[[str, str], None]):
        self._path = path
        self._tokens = tokens
        self._gone = gone
        self._waiting: dict[str, list[Done]] = {}
        self._under_way: dict[int, tuple[str, list[Done]]] = {}
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._settled = asyncio.Event()
        self._overflowed = False

    def announce(self, ref: str, done: Done | None = None) -> None:
        """Announce news for the account `ref`. Never waits, nor fails because of the notifier.

        Calls `done` when the notifier has it on disk, or when there is nobody to ring. Raises
        `StoreError` if the account's tokens cannot be read.
        """
        waiting = [done] if done else []
        if self._writer is None or len(self._under_way) >= WINDOW:
            self._wait_with(ref, waiting)
        else:
            self._send(self._writer, ref, waiting)

    def _wait_with(self, ref: str, waiting: list[Done]) -> None:
        if ref in self._waiting or len(self._waiting) < MAX_WAITING:
            self._waiting.setdefault(ref, []).extend(waiting)
        elif not self._overflowed:
            self._overflowed = True
            log.error("the notifier at %s is away and %d accounts have news: the phones of others "
                      "stay silent until it is back", self._path, MAX_WAITING)

    def _send(self, writer: asyncio.StreamWriter, ref: str, waiting: list[Done]) -> None:
        tokens = self._tokens(ref)
        if not tokens:
            _call(waiting)
            return
        self._number += 1
        self._under_way[self._number] = (ref, waiting)
        self._settled.clear()
        writer.write(protocol.encode(Announce(self._number, ref, tokens)))

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        was_away = False
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(
                    self._path, limit=protocol.MAX_LINE)
                if was_away:
                    log.info("the notifier is back")
                was_away = False
                self._tell_waiting(self._writer)
                await self._listen(reader, self._writer)
            except (OSError, ValueError) as error:
                if not was_away:
                    log.warning("the notifier at %s is away (%s): news is kept and told when it "
                                "is back", self._path, getattr(error, "strerror", "") or error)
                was_away = True
            finally:
                self._disconnected()
            await asyncio.sleep(RECONNECT)

    def _disconnected(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        later, self._waiting = self._waiting, {}
        for ref, waiting in (*self._under_way.values(), *later.items()):
            self._waiting.setdefault(ref, []).extend(waiting)
        self._under_way.clear()

    def _tell_waiting(self, writer: asyncio.StreamWriter) -> None:
        while self._waiting and len(self._under_way) < WINDOW:
            ref = next(iter(self._waiting))
            try:
                self._send(writer, ref, self._waiting.pop(ref))
            except StoreError as error:
                log.error("%s", error)
        self._overflowed = False

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            match protocol.decode(line):
                case Stored(number):
                    if number in self._under_way:
                        _call(self._under_way.pop(number)[1])
                    self._tell_waiting(writer)
                    if not self._under_way:
                        self._settled.set()
                case Gone(ref, token):
                    self._gone(ref, token)
        raise ConnectionResetError("it closed the connection")

    async def settle(self) -> None:
        """Wait until the notifier has all on its disk, at most `STOP_TIMEOUT` seconds."""
        if self._under_way:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), STOP_TIMEOUT)


def _call(waiting: list[Done]) -> None:
    for done in waiting:
        done()


async def probe(path: Path, ref: str, token: str) -> Probed:
    """Have the notifier send one notification at once, past its queue. Raises `ChatmaildError`."""
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=protocol.MAX_LINE)
        try:
            writer.write(protocol.encode(Probe(ref, token)))
            async with asyncio.timeout(PROBE_TIMEOUT):
                while line := await reader.readline():
                    answer = protocol.decode(line)
                    if isinstance(answer, Probed):
                        return answer
        finally:
            writer.close()
    except TimeoutError:
        raise ChatmaildError(f"{path}: the notifier did not answer within {PROBE_TIMEOUT:g} s; "
                             "see journalctl -u chatmaild-notifier") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or error
        raise ChatmaildError(f"{path}: {reason}; is chatmaild-notifier running, and are you root "
                             "or the mail user?") from None
    raise ChatmaildError(f"{path}: the notifier closed the connection without an answer; see "
                         "journalctl -u chatmaild-notifier")
