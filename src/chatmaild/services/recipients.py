"""``chatmaild recipients``: tells the outgoing filter, which sees no mailbox, about accounts.

It tells whether an address has an account, is blocked or takes cleartext, and when an earlier
account was removed. It tells nothing else and changes nothing. `filter.mailboxlookup` has the
protocol. On one of several hosts it knows accounts elsewhere too, from the directory, and tells
Postfix on a second socket where they live.
"""

import argparse
import functools
import logging
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import dictproto, dictserver, memcached, process, sockets
from chatmaild.errors import StoreError, UsageError
from chatmaild.filter.mailboxlookup import ACCOUNT, MAILBOX, Seen, account_answer, mailbox_answer
from chatmaild.filter.questions import Account, MailboxState
from chatmaild.metrics import Counter, Metric

if TYPE_CHECKING:
    from chatmaild.accounts.directoryrows import Entry
    from chatmaild.filter.elsewhere import Elsewhere

log = logging.getLogger(__name__)

UNITS = "chatmaild-recipients.socket", "chatmaild-homes.socket"
"""Where our filter asks, and where Postfix does."""


class RecipientService(dictserver.Service):
    """Answers from the mailboxes here, and from the directory if there is one."""

    def __init__(self) -> None:
        self._asked = Counter("chatmaild_recipients_lookups_total",
                              "Questions of the outgoing filter.")
        self._failed = Counter("chatmaild_recipients_failed_total",
                               "Questions that the disk did not answer.")
        self._elsewhere: "Elsewhere | None" = None

    def metrics(self) -> Iterator[Metric]:
        """Yield the counts of questions, and of those without an answer."""
        return (each.metric() for each in (self._asked, self._failed))

    def configure(self, config: Config) -> None:
        """Use this configuration from now on, and forget the answers of the directory."""
        if self._elsewhere:
            self._elsewhere.configure(config)
        elif config.directory is not None:
            from chatmaild.filter.elsewhere import Elsewhere
            self._elsewhere = Elsewhere(config)
        self._mailboxes = Mailboxes(config)
        self._seen = Seen(self._mailboxes)

    def close(self) -> None:
        """End the threads and the connections to the directory."""
        if self._elsewhere:
            self._elsewhere.close()

    async def transport(self, key: bytes) -> bytes | None:
        """Answer Postfix, see `Elsewhere.transport`; it has no questions on a host that is alone.
        """
        return await self._elsewhere.transport(key) if self._elsewhere else None

    def lookup(self, request: dictproto.Lookup, hello: dictproto.Hello) -> dictserver.Answer:
        """Answer a question of `filter.mailboxlookup`."""
        try:
            self._asked.add()
            if request.key.startswith(MAILBOX):
                address = _text(request.key, MAILBOX)
                state = self._seen.mailbox(address)
                if state is MailboxState.UNKNOWN and self._elsewhere:
                    return self._answer(self._elsewhere, address, is_login=False)
                return mailbox_answer(state)
            if request.key.startswith(ACCOUNT):
                address = _text(request.key, ACCOUNT)
                account = self._seen.account(address)
                if account.state is MailboxState.UNKNOWN and self._elsewhere:
                    return self._answer(self._elsewhere, address, is_login=True)
                return account_answer(account)
            return dictproto.NOT_FOUND
        except StoreError as error:
            self._failed.add()
            log.error("%s", error)
            return dictproto.FAILURE

    async def _answer(self, elsewhere: "Elsewhere", address: str, is_login: bool) -> bytes:
        """Answer about an address without a mailbox here."""
        mailbox = (self._mailboxes.find(address) if is_login
                   else self._mailboxes.find_recipient(address))
        state = MailboxState.UNKNOWN
        try:
            if mailbox:
                state = _state(await elsewhere.entry(mailbox.address))
        except StoreError as error:
            log.error("%s", error)
            return dictproto.FAILURE
        return account_answer(Account(state)) if is_login else mailbox_answer(state)


def _state(entry: "Entry | None") -> MailboxState:
    if entry is None or entry.leaving:
        return MailboxState.UNKNOWN
    if entry.blocked:
        return MailboxState.BLOCKED
    return MailboxState.OPEN if entry.cleartext else MailboxState.ENFORCING


def _text(key: bytes, prefix: bytes) -> str:
    """Return the address after the prefix; octets beyond ASCII name no mailbox."""
    return key.removeprefix(prefix).decode("ascii", "surrogateescape")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    sockets.configure(parser)
    parser.add_argument("--homes-socket", metavar="SPEC",
                        help="with --socket: the socket for Postfix, on one of several hosts")


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve until told to stop."""
    process.stay_on_one_cpu(0)      # that of the outgoing filter: one waits while the other works
    service = RecipientService()
    listener, homes = _listeners(args)
    beside = functools.partial(memcached.serve, service.transport, homes) if homes else None
    return dictserver.run(args, service, listener, beside)


def _listeners(args: argparse.Namespace) -> tuple[socket.socket, socket.socket | None]:
    """Open the sockets; the second may be missing."""
    if args.socket:
        return (sockets.listening(args.socket),
                sockets.listening(args.homes_socket) if args.homes_socket else None)
    if args.homes_socket:
        raise UsageError("--homes-socket goes with --socket")
    return sockets.inherited_from(*UNITS)
