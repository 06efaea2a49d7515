"""May mail go to a chat address? Answered from the store, or by whoever may see the store.

The outgoing filter runs as a user who sees no mailbox. It asks ``chatmaild recipients``, which
does, by one lookup in the dict protocol: the key is `PREFIX` and the address, the answer a
`MailboxState`.
"""

import logging
import socket
from pathlib import Path

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.daemon import dictproto
from chatmaild.errors import StoreError
from chatmaild.filter.recipients import MailboxState

log = logging.getLogger(__name__)

SOCKET = Path("/run/chatmaild/recipients.sock")

PREFIX = b"shared/mailbox/"

TIMEOUT = 2
"""Seconds for an answer; Postfix waits 5 for ours."""

_NAMES = {MailboxState.BLOCKED: b"blocked", MailboxState.OPEN: b"open",
          MailboxState.ENFORCING: b"enforcing"}
_STATES = {b"N": MailboxState.UNKNOWN} | {b"O" + name: state for state, name in _NAMES.items()}


class Seen:
    """For those who see the store. Calling it raises `StoreError` if the disk cannot tell."""

    def __init__(self, mailboxes: Mailboxes):
        self._mailboxes = mailboxes

    def __call__(self, mail_address: str) -> MailboxState:
        try:
            return self._look_at(mail_address)
        except StoreError as error:     # its text begins with a path that holds the address
            _, _, trouble = str(error).partition(":")
            raise StoreError(f"a mailbox cannot be looked at:{trouble}") from None

    def _look_at(self, mail_address: str) -> MailboxState:
        mailbox = self._mailboxes.find_recipient(mail_address)
        if mailbox is None:
            return MailboxState.UNKNOWN
        if mailbox.is_blocked():
            return MailboxState.BLOCKED
        if not mailbox.exists():
            return MailboxState.UNKNOWN
        if mailbox.enforces_encryption():
            return MailboxState.ENFORCING
        return MailboxState.OPEN


class Told:
    """For those who do not see it. Calling it raises `StoreError` if nobody tells in time.

    Where the socket does not exist, no such service is set up: then every address counts as an
    account that takes encrypted mail only, and unknown ones are found out at delivery.
    """

    def __init__(self, path: Path = SOCKET):
        self._path = str(path)
        self._warned = False

    def __call__(self, mail_address: str) -> MailboxState:
        try:
            answer = self._ask(mail_address.encode("utf-8", "surrogateescape"))
        except FileNotFoundError:
            if not self._warned:
                self._warned = True
                log.warning("%s: not there, so all chat addresses are taken for accounts that "
                            "want encrypted mail; start chatmaild-recipients.socket", self._path)
            return MailboxState.ENFORCING
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror or error}; is "
                             "chatmaild-recipients.service running?") from None
        if answer not in _STATES:
            raise StoreError(f"{self._path}: chatmaild-recipients.service reports trouble")
        return _STATES[answer]

    def _ask(self, mail_address: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(self._path)
            connection.sendall(b"L" + dictproto.escape(PREFIX + mail_address) + b"\n")
            answer = b""
            while not answer.endswith(b"\n") and (more := connection.recv(4096)):
                answer += more
        return answer.rstrip(b"\n")


def answer(state: MailboxState) -> bytes:
    """What `Told` understands."""
    name = _NAMES.get(state)
    return dictproto.found(name) if name else dictproto.NOT_FOUND
