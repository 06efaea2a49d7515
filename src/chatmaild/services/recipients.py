"""``chatmaild recipients``: tells the outgoing filter, which sees no mailbox, about accounts.

It tells whether an address has an account, is blocked or takes cleartext, and when an earlier
account was removed. It tells nothing else and changes nothing. `filter.mailboxlookup` has the
protocol. On one of several hosts it knows accounts elsewhere too, from the directory.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import dictproto, dictserver, sockets
from chatmaild.errors import StoreError
from chatmaild.filter.mailboxlookup import ACCOUNT, MAILBOX, Seen, account_answer, mailbox_answer
from chatmaild.filter.questions import Account, MailboxState
from chatmaild.metrics import Counter, Metric

if TYPE_CHECKING:
    from chatmaild.accounts.directory import Directory, Entry

log = logging.getLogger(__name__)

configure = sockets.configure


FRESH = 5.0
"""Seconds for which an answer of the directory is believed."""

MAX_REMEMBERED = 10_000
"""Answers of the directory that are kept at a time."""


class RecipientService(dictserver.Service):
    """Answers from the mailboxes here, and from the directory if there is one."""

    def __init__(self) -> None:
        self._asked = Counter("chatmaild_recipients_lookups_total",
                              "Questions of the outgoing filter.")
        self._failed = Counter("chatmaild_recipients_failed_total",
                               "Questions that the disk did not answer.")
        self._directory: "Directory | None" = None
        self._askers: ThreadPoolExecutor | None = None
        self._answers: "dict[str, tuple[float, Entry | None]]" = {}

    def metrics(self) -> Iterator[Metric]:
        """Yield the counts of questions, and of those without an answer."""
        return (each.metric() for each in (self._asked, self._failed))

    def configure(self, config: Config) -> None:
        """Use this configuration from now on, and forget the answers of the directory."""
        if self._directory or config.directory is not None:
            self._open_directory(config)
        self._answers.clear()
        self._mailboxes = Mailboxes(config)
        self._seen = Seen(self._mailboxes)

    def _open_directory(self, config: Config) -> None:
        # Loaded only now: a host that is alone keeps 0.6 MB of memory free.
        from chatmaild.accounts.directory import LINES, Directory
        self._directory = Directory.reopened(self._directory, config)
        self._askers = self._askers or ThreadPoolExecutor(LINES, "directory")

    def close(self) -> None:
        """End the threads and the connections to the directory."""
        if self._askers:
            self._askers.shutdown()
        if self._directory:
            self._directory.close()

    def lookup(self, request: dictproto.Lookup, hello: dictproto.Hello) -> dictserver.Answer:
        """Answer a question of `filter.mailboxlookup`."""
        try:
            self._asked.add()
            if request.key.startswith(MAILBOX):
                address = _text(request.key, MAILBOX)
                state = self._seen.mailbox(address)
                if state is MailboxState.UNKNOWN and self._directory:
                    return self._elsewhere(self._directory, address, is_login=False)
                return mailbox_answer(state)
            if request.key.startswith(ACCOUNT):
                address = _text(request.key, ACCOUNT)
                account = self._seen.account(address)
                if account.state is MailboxState.UNKNOWN and self._directory:
                    return self._elsewhere(self._directory, address, is_login=True)
                return account_answer(account)
            return dictproto.NOT_FOUND
        except StoreError as error:
            self._failed.add()
            log.error("%s", error)
            return dictproto.FAILURE

    async def _elsewhere(self, directory: "Directory", address: str, is_login: bool) -> bytes:
        """Answer about an address without a mailbox here."""
        mailbox = (self._mailboxes.find(address) if is_login
                   else self._mailboxes.find_recipient(address))
        state = MailboxState.UNKNOWN
        try:
            if mailbox:
                state = _state(await self._entry(directory, mailbox.address))
        except StoreError as error:
            log.error("%s", error)
            return dictproto.FAILURE
        return account_answer(Account(state)) if is_login else mailbox_answer(state)

    async def _entry(self, directory: "Directory", address: str) -> "Entry | None":
        now = time.monotonic()
        known = self._answers.get(address)
        if known and now < known[0]:
            return known[1]
        entry = await asyncio.get_running_loop().run_in_executor(
            self._askers, directory.find, address)
        if len(self._answers) >= MAX_REMEMBERED:
            self._answers.clear()
        self._answers[address] = now + FRESH, entry
        return entry


def _state(entry: "Entry | None") -> MailboxState:
    if entry is None or entry.leaving:
        return MailboxState.UNKNOWN
    if entry.blocked:
        return MailboxState.BLOCKED
    return MailboxState.OPEN if entry.cleartext else MailboxState.ENFORCING


def _text(key: bytes, prefix: bytes) -> str:
    """Return the address after the prefix; octets beyond ASCII name no mailbox."""
    return key.removeprefix(prefix).decode("ascii", "surrogateescape")


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve until told to stop."""
    return dictserver.run(args, RecipientService())
