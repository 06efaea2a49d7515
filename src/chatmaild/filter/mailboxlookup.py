"""Looks up a chat address: in the store, or by asking a service that can read the store.

The outgoing filter runs as a user who cannot read mailboxes. It asks ``chatmaild recipients``,
which can, by one lookup in the dict protocol. The key is a prefix and the address:

    shared/mailbox/ADDRESS   may mail go there?    STATE, or N (not found) for unknown
    shared/account/ADDRESS   whose login is it?    STATE ENDED [RATE BURST]

STATE is unknown, blocked, open or enforcing. ENDED is when an earlier account with this address was
removed, in seconds of CLOCK_MONOTONIC, or ``-``. RATE and BURST follow if the account has its own
max_user_send_per_minute or max_user_send_burst_size; ``-`` stands for that of the domain.
"""

import logging
import os
import socket
from pathlib import Path

from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.daemon import dictproto
from chatmaild.errors import StoreError
from chatmaild.filter.questions import Account, MailboxState

log = logging.getLogger(__name__)

SOCKET = Path("/run/chatmaild/recipients.sock")

MAILBOX, ACCOUNT = b"shared/mailbox/", b"shared/account/"

TIMEOUT = 2
"""Seconds to wait for an answer; Postfix waits 5 for ours."""

MAX_ANSWER = 200
"""Octets in an answer."""

MAX_IDLE = 16
"""Connections to the service that are kept for the next question."""

_NAMES = {MailboxState.UNKNOWN: b"unknown", MailboxState.BLOCKED: b"blocked",
          MailboxState.OPEN: b"open", MailboxState.ENFORCING: b"enforcing"}
_STATES = {name: state for state, name in _NAMES.items()}

# The answers are made once: about mailboxes, and about accounts of which nothing else is to tell.
_OF_MAILBOX = {state: dictproto.NOT_FOUND if state is MailboxState.UNKNOWN
               else dictproto.found(name) for state, name in _NAMES.items()}
_OF_ACCOUNT = {state: dictproto.found(name + b" -") for state, name in _NAMES.items()}


class Seen:
    """For processes that can read the store. Methods raise `StoreError` if reading fails."""

    def __init__(self, mailboxes: Mailboxes):
        self._mailboxes = mailboxes

    def mailbox(self, address: str) -> MailboxState:
        """The state of the mailbox that mail to `address` is delivered to."""
        try:
            return _state(self._mailboxes.find_recipient(address))
        except StoreError as error:
            raise _without_address(error) from None

    def account(self, address: str) -> Account:
        """The account that logs in as `address`."""
        try:
            mailbox = self._mailboxes.find(address)
            if mailbox is None:
                return Account(MailboxState.UNKNOWN)
            return Account(_state(mailbox), mailbox.ended(), *_rate(mailbox))
        except StoreError as error:
            raise _without_address(error) from None


def _state(mailbox: Mailbox | None) -> MailboxState:
    if mailbox is None:
        return MailboxState.UNKNOWN
    if not mailbox.exists():
        return MailboxState.BLOCKED if mailbox.is_blocked() else MailboxState.UNKNOWN
    blocked, enforces = mailbox.marks()
    if blocked:
        return MailboxState.BLOCKED
    return MailboxState.ENFORCING if enforces else MailboxState.OPEN


def _rate(mailbox: Mailbox) -> tuple[int | None, int | None]:
    """The account's own rate and burst; None for that of the domain, and if they are unreadable."""
    try:
        if not mailbox.has_settings():
            return None, None
        own = mailbox.settings()
    except StoreError as error:
        log.error("%s", _without_address(error, "the settings of an account"))
        return None, None
    return own.get("max_user_send_per_minute"), own.get("max_user_send_burst_size")


def _without_address(error: StoreError, what: str = "a mailbox cannot be looked at") -> StoreError:
    """The same error with another beginning in place of the path, which holds the address."""
    _, _, trouble = str(error).partition(":")
    return StoreError(f"{what}:{trouble}")


class Told:
    """For processes that cannot read it. Any thread may call the methods; they raise `StoreError`
    without an answer within `TIMEOUT`.

    While the socket has never existed, the service is not set up. Then every address counts as an
    account that takes encrypted mail only, and Dovecot refuses unknown ones at delivery.
    """

    def __init__(self, path: Path = SOCKET):
        self._path = str(path)
        self._warned = False
        self._was_there = False
        self._idle: list[socket.socket] = []    # connections; each has one user at a time

    def mailbox(self, address: str) -> MailboxState:
        """The state of the mailbox that mail to `address` is delivered to."""
        answer = self._look_up(MAILBOX, address)
        if answer is None:
            return MailboxState.ENFORCING
        if answer == b"N":
            return MailboxState.UNKNOWN
        if (state := _STATES.get(answer[1:])) is None or answer[:1] != b"O":
            raise self._trouble()
        return state

    def account(self, address: str) -> Account:
        """The account that logs in as `address`."""
        answer = self._look_up(ACCOUNT, address)
        if answer is None:
            return Account(MailboxState.ENFORCING)
        try:
            state, ended, *rate = answer[1:].split(b" ")
            if answer[:1] == b"O" and len(rate) in (0, 2):
                return Account(_STATES[state], None if ended == b"-" else float(ended),
                               *(None if each == b"-" else int(each) for each in rate))
        except (KeyError, ValueError):
            pass
        raise self._trouble()

    def _look_up(self, prefix: bytes, address: str) -> bytes | None:
        """The answer without its line end; None if there is no such service."""
        if not self._was_there and self._is_missing():
            return None
        try:
            answer = self._ask(prefix + address.encode("utf-8", "surrogateescape"))
        except OSError as error:
            what_to_do = ("restart chatmaild-recipients.socket"
                          if isinstance(error, FileNotFoundError)
                          else "is chatmaild-recipients.service running?")
            raise StoreError(f"{self._path}: {error.strerror or error}; {what_to_do}") from None
        self._was_there = True
        return answer

    def _is_missing(self) -> bool:
        try:
            os.stat(self._path)
        except FileNotFoundError:
            if not self._warned:
                self._warned = True
                log.warning("%s: not there, so all chat addresses are taken for accounts that "
                            "want encrypted mail; start chatmaild-recipients.socket", self._path)
            return True
        except OSError:
            pass    # connecting will say what is wrong
        return False

    def _ask(self, key: bytes) -> bytes:
        question = b"L" + dictproto.escape(key) + b"\n"
        try:
            # The service may have ended or been restarted since: then ask a new connection.
            if answer := self._answer(self._idle.pop(), question):
                return answer
        except (IndexError, ConnectionError):
            pass
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(TIMEOUT)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return self._answer(connection, question)

    def _answer(self, connection: socket.socket, question: bytes) -> bytes:
        """The answer without its line end. Keeps or closes the connection."""
        answer = b""
        try:
            connection.sendall(question)
            while (not answer.endswith(b"\n") and len(answer) < MAX_ANSWER
                   and (more := connection.recv(MAX_ANSWER))):
                answer += more
        finally:
            if answer.endswith(b"\n") and len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
            else:
                connection.close()
        return answer.rstrip(b"\n")

    def _trouble(self) -> StoreError:
        return StoreError(f"{self._path}: chatmaild-recipients.service reports trouble")


class Among:
    """For processes that can read the store, on one of several hosts of a domain: asks
    ``chatmaild recipients`` about every address that has no mailbox here."""

    def __init__(self, seen: Seen, told: Told):
        self._seen, self._told = seen, told

    def mailbox(self, address: str) -> MailboxState:
        """The state of the mailbox that mail to `address` is delivered to."""
        state = self._seen.mailbox(address)
        return self._told.mailbox(address) if state is MailboxState.UNKNOWN else state

    def account(self, address: str) -> Account:
        """The account that logs in as `address`."""
        account = self._seen.account(address)
        return self._told.account(address) if account.state is MailboxState.UNKNOWN else account


def mailbox_answer(state: MailboxState) -> bytes:
    """The answer for `Told.mailbox`."""
    return _OF_MAILBOX[state]


def account_answer(account: Account) -> bytes:
    """The answer for `Told.account`. Never N: of an unknown one it tells when it ended."""
    if account.ended is None and not (account.per_minute or account.burst):
        return _OF_ACCOUNT[account.state]
    known: list[float | None] = [account.ended]
    if account.per_minute or account.burst:
        known += [account.per_minute, account.burst]
    words = " ".join("-" if each is None else repr(each) for each in known)
    return dictproto.found(b"%b %b" % (_NAMES[account.state], words.encode("ascii")))
