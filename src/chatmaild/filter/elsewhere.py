"""What a service knows about accounts on the other hosts of the chat domains.

Loaded only where `directory` is set: a host that is alone keeps 0.6 MB of memory free.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from chatmaild.accounts.directory import LINES, Directory
from chatmaild.accounts.directoryrows import Entry
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config.config import Config
from chatmaild.errors import DirectoryError, StoreError

FRESH = 5.0
"""Seconds for which an answer of the directory is believed."""

MAX_REMEMBERED = 10_000
"""Answers of the directory that are kept at a time."""

LMTP_PORT = 24
"""Where the hosts take mail from one another."""

NO_DIRECTORY = b"retry:4.4.3 the directory, which knows the host of the account, does not answer"
NO_DISK = b"retry:4.3.0 mailboxes cannot be looked at"
"""Put the message off by the service ``retry`` of Postfix's master.cf."""


class Elsewhere:
    """The directory, asked in threads; for one event loop."""

    def __init__(self, config: Config):
        self._directory: Directory | None = None
        self._filter = ThreadPoolExecutor(LINES, "filter")
        # A thread of its own: its question must not wait behind those of the filter.
        self._postfix = ThreadPoolExecutor(1, "postfix")
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Use this configuration from now on, and forget the answers."""
        self._directory = Directory.reopened(self._directory, config)
        self._mailboxes = Mailboxes(config)
        self._answers: dict[str, tuple[float, Entry | None]] = {}

    def close(self) -> None:
        """End the threads and the connections."""
        for threads in (self._filter, self._postfix):
            threads.shutdown()
        if self._directory:
            self._directory.close()

    async def entry(self, address: str) -> Entry | None:
        """Return what the directory says, for the filter. Raises `DirectoryError`."""
        return await self._ask(address, in_hurry=False)

    async def transport(self, key: bytes) -> bytes | None:
        """Answer Postfix, which looks `key` up in a table like transport(5).

        None for what it knows by itself: accounts on this host, and everything that is none.
        """
        mailbox = self._mailboxes.find_recipient(key.decode("ascii", "surrogateescape"))
        try:
            if mailbox is None or mailbox.exists():
                return None
        except StoreError:
            return NO_DISK
        try:
            entry = await self._ask(mailbox.address, in_hurry=True)
        except DirectoryError:
            return NO_DIRECTORY
        if entry is None or entry.is_own:
            return None
        return f"chat-node:inet:[{entry.ip}]:{LMTP_PORT}".encode("ascii")

    async def _ask(self, address: str, in_hurry: bool) -> Entry | None:
        if self._directory is None:
            return None
        known = self._answers.get(address)
        if known and time.monotonic() < known[0]:
            return known[1]
        entry = await asyncio.get_running_loop().run_in_executor(
            self._postfix if in_hurry else self._filter, self._directory.find, address, in_hurry)
        if entry is None or not entry.is_own and not entry.moving:      # nothing that is changing
            if len(self._answers) >= MAX_REMEMBERED:
                self._answers.clear()
            self._answers[address] = time.monotonic() + FRESH, entry
        return entry
