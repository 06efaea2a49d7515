"""Decides who may get this mail: the recipients of one transaction.

Different rules apply to mail for chat users and for ordinary recipients. So a stranger's
transaction has recipients of one class only: the first one decides, and those of the other class
are deferred to another transaction.
"""

from chatmaild import address
from chatmaild.config.config import Config
from chatmaild.filter import replies
from chatmaild.filter.outgoing import matches
from chatmaild.filter.questions import Asking, MailboxOf, MailboxState
from chatmaild.filter.replies import Verdict

ROLES = frozenset(("postmaster", "abuse"))
"""Local parts that must reach a person (RFC 5321 section 4.5.1, RFC 2142). Unless an account has
the name, they are ordinary recipients, and where their mail goes is up to the admin."""


class Recipients:
    """Call `add` for each recipient; `chat` and `enforcing` are about those that were accepted."""

    def __init__(self, config: Config, split: bool, in_clear: bool = False):
        """`split`: accept one class of recipients only, for a sender who did not log in.
        `in_clear`: the sender is a stranger without TLS."""
        self._config = config
        self._in_clear = in_clear
        self._split = split
        self._ordinary = False
        self.chat = False
        """Whether a chat user is among them."""
        self.enforcing = False
        """Whether one of them takes encrypted mail only."""

    def add(self, path: str) -> Asking[Verdict | None]:
        """The verdict if this recipient is refused, else None. `path` is the forward-path as in
        SMTP."""
        recipient = address.strip_path(path)
        domain = self._config.domain_of(recipient)
        if domain is None:
            return self._accept(chat=False)
        if self._in_clear and domain.incoming_tls == "require":
            return Verdict("recipient-needs-tls", replies.NEEDS_TLS)
        state = MailboxState.UNKNOWN
        if address.is_address(recipient.encode("utf-8", "surrogateescape")):
            state = yield MailboxOf(recipient)
        if state in (MailboxState.OPEN, MailboxState.ENFORCING):
            return self._accept(chat=True, enforcing=state is MailboxState.ENFORCING)
        if state is MailboxState.BLOCKED:
            return Verdict("recipient-blocked", replies.UNKNOWN_RECIPIENT)
        return self._add_without_account(recipient)

    def _add_without_account(self, recipient: str) -> Verdict | None:
        mailbox = address.without_detail(recipient.lower(), self._config.recipient_delimiter)
        local, _, domain = mailbox.rpartition("@")
        if local in ROLES:
            return self._accept(chat=False)
        aliases = self._config.domains[domain].recipient_aliases
        if matches(aliases, recipient) or matches(aliases, mailbox):
            return self._accept(chat=True, enforcing=True)
        return Verdict("recipient-unknown", replies.UNKNOWN_RECIPIENT)

    def _accept(self, chat: bool, enforcing: bool = False) -> Verdict | None:
        if self._split and (self._ordinary if chat else self.chat):
            return Verdict("recipient-of-other-class", replies.SEPARATELY)
        self.chat |= chat
        self._ordinary |= not chat
        self.enforcing |= enforcing
        return None
