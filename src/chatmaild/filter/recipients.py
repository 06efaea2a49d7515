"""To whom may this mail go? The recipients of one transaction that is not from a chat user.

Each recipient is of one of two classes, chat or ordinary, and a message to chat users has other
rules than one to ordinary users. So a stranger's transaction holds recipients of one class only:
the first one decides, and those of the other class are deferred to the next transaction.
"""

import enum
from collections.abc import Callable

from chatmaild import address
from chatmaild.config.config import Config
from chatmaild.filter import replies
from chatmaild.filter.outgoing import matches
from chatmaild.filter.replies import Verdict

ROLES = frozenset(("postmaster", "abuse"))
"""Local parts that must reach a person (RFC 5321 section 4.5.1, RFC 2142): while no account has
the name, they are ordinary recipients and the admin's own business."""


class MailboxState(enum.Enum):
    UNKNOWN = "unknown"
    BLOCKED = "blocked"
    OPEN = "takes cleartext"
    ENFORCING = "takes encrypted mail only"


class Recipients:
    """Call `add` for each; `chat` and `enforcing` are about those that were accepted."""

    def __init__(self, config: Config, mailbox: Callable[[str], MailboxState], split: bool):
        """`mailbox` tells the state of the mailbox that mail to an address is delivered to;
        `split` is for senders who did not log in."""
        self._config = config
        self._mailbox = mailbox
        self._split = split
        self._ordinary = False
        self.chat = False
        """Whether a chat user is among them."""
        self.enforcing = False
        """Whether one of them takes encrypted mail only."""

    def add(self, path: str) -> Verdict | None:
        """None if mail may go there, else the verdict on this recipient."""
        recipient = address.strip_path(path)
        if address.domain_of(recipient) not in self._config.domains:
            return self._accept(chat=False)
        state = MailboxState.UNKNOWN
        if address.is_address(recipient.encode("utf-8", "surrogateescape")):
            state = self._mailbox(recipient)
        if state in (MailboxState.OPEN, MailboxState.ENFORCING):
            return self._accept(chat=True, enforcing=state is MailboxState.ENFORCING)
        if state is MailboxState.BLOCKED:
            return Verdict("recipient-blocked", replies.UNKNOWN_RECIPIENT)
        local, _, domain = recipient.lower().rpartition("@")
        base = self._without_detail(local)
        if base in ROLES:
            return self._accept(chat=False)
        aliases = self._config.domains[domain].recipient_aliases
        if matches(aliases, recipient) or matches(aliases, f"{base}@{domain}"):
            return self._accept(chat=True, enforcing=True)
        return Verdict("recipient-unknown", replies.UNKNOWN_RECIPIENT)

    def _accept(self, chat: bool, enforcing: bool = False) -> Verdict | None:
        if self._split and (self._ordinary if chat else self.chat):
            return Verdict("recipient-of-other-class", replies.SEPARATELY)
        self.chat |= chat
        self._ordinary |= not chat
        self.enforcing |= enforcing
        return None

    def _without_detail(self, local: str) -> str:
        for position, character in enumerate(local):
            if position and character in self._config.recipient_delimiter:
                return local[:position]
        return local
