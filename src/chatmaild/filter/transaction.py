"""Whose mail is it? One SMTP transaction from MAIL to the end of its data, without any protocol.

A transaction is outgoing if its login or its envelope sender is in a chat domain. From anybody
else it is incoming where a recipient is in a chat domain. What is neither is nobody's business.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from chatmaild import address
from chatmaild.config.config import Config
from chatmaild.filter import outgoing, replies
from chatmaild.filter.rates import Rates
from chatmaild.filter.recipients import MailboxState, Recipients
from chatmaild.filter.replies import Verdict
from chatmaild.message.reader import Headers


class Direction(enum.Enum):
    """What a client without a login is taken for: one of ours, or a stranger."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"


@dataclass(frozen=True)
class Client:
    """Who is connected: his network address ("" for a unix socket or unknown) and, per
    transaction, the SASL login ("" without one)."""

    network_address: str = ""
    login: str = ""


class Rules(Protocol):
    """What `Transaction` asks of a rule set, in this order. A verdict ends the transaction, but
    from `recipient`, where it concerns that recipient only."""

    @property
    def wanted(self) -> bool:
        """Asked after the last recipient; False: accept without a look at the message."""

    def recipient(self, path: str) -> Verdict | None: ...

    def headers(self, headers: Headers) -> Verdict | None: ...

    def body(self, chunk: bytes) -> None: ...

    def finish(self) -> Verdict: ...


@dataclass(frozen=True)
class Site:
    """What all transactions share. `mailbox` tells the state of the mailbox of a chat address;
    `incoming` makes the rule set for one transaction of the client with that envelope sender
    path."""

    config: Config
    direction: Direction
    rates: Rates
    mailbox: Callable[[str], MailboxState]
    incoming: Callable[[Client, str], Rules]


_NOT_OURS = Verdict("not-ours")


class Transaction:
    """Each method answers None (go on) or the verdict; after one for the whole message no more
    methods are called."""

    __slots__ = ("direction", "_site", "_rules", "_is_user", "_sender", "_recipients")

    def __init__(self, site: Site):
        self.direction = ""
        self._site = site
        self._rules: Rules | None = None
        self._is_user = False       # who logged in, and is no chat user
        self._sender = ""
        self._recipients: Recipients | None = None

    def mail(self, path: str, client: Client, size: int, now: float,
             resolved: str = "") -> Verdict | None:
        """MAIL FROM. `path` as SMTP has it, `resolved` what the MTA makes of it (user%domain and
        domain!user are user@domain); `size` in octets as declared, 0 if not; `now` of a monotonic
        clock."""
        config = self._site.config
        domain = config.domain_of(client.login) if client.login else None
        if domain is None:
            if any(address.domain_of(address.strip_path(form)) in config.domains
                   for form in (path, resolved)):
                self.direction = "outgoing"
                return Verdict("sender-without-login", replies.NOT_YOUR_ADDRESS)
            self._rules = self._site.incoming(client, path)
            self._is_user = bool(client.login)
            return None
        self.direction = "outgoing"
        sender = address.parse_path(path)
        if refused := outgoing.check_sender(sender, client.login):
            return refused
        if size > domain.max_message_size:
            return Verdict("too-large", replies.TOO_LARGE)
        if not self._site.rates.allow(sender.lower(), now, domain.max_user_send_per_minute,
                                      domain.max_user_send_burst_size):
            return Verdict("too-fast", replies.TOO_FAST)
        self._rules = outgoing.Outgoing(domain, sender)
        self._sender = sender.lower()
        self._recipients = Recipients(config, self._site.mailbox, split=False)
        return None

    def recipient(self, path: str) -> Verdict | None:
        """RCPT TO."""
        found = self._unknown_recipient(path) or self._rules.recipient(path)
        if found:
            self.direction = self.direction or "incoming"
        return found

    def _unknown_recipient(self, path: str) -> Verdict | None:
        """A chat user's mail to a chat address that has no account is refused as anybody's is.
        He himself has one, and his other devices get a copy of all he sends."""
        if self._recipients is None or address.strip_path(path).lower() == self._sender:
            return None
        return self._recipients.add(path)

    def data(self) -> Verdict | None:
        """The last recipient was seen; the message comes. `direction` is empty from here on if it
        is nobody's business, which can be told at once but for what users of the host send."""
        if self._rules.wanted:
            self.direction = self.direction or "incoming"
            return None
        self.direction = ""
        return None if self._is_user else _NOT_OURS

    def headers(self, headers: Headers) -> Verdict | None:
        if self._rules.wanted:
            return self._rules.headers(headers)
        for name, value in headers:
            if (name.lower() == "from"
                    and address.domains_shown(value) & self._site.config.domains.keys()):
                self.direction = "outgoing"
                return Verdict("from-is-a-chat-user", replies.NOT_YOUR_ADDRESS)
        return _NOT_OURS

    def body(self, chunk: bytes) -> None:
        self._rules.body(chunk)

    def finish(self) -> Verdict:
        return self._rules.finish()
