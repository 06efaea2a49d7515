"""Decides which rules apply: one SMTP transaction from MAIL to the end of its data, as values.

A transaction is outgoing if its login or its envelope sender is in a chat domain. Otherwise it is
incoming if a recipient is in a chat domain. All other mail passes without a verdict of ours.
"""

from typing import Protocol

from chatmaild import address
from chatmaild.config.config import Config
from chatmaild.filter import outgoing, replies
from chatmaild.filter.client import Client
from chatmaild.filter.incoming import Incoming, is_trusted
from chatmaild.filter.outgoing import Outgoing
from chatmaild.filter.questions import AccountOf, Asking, LeaveToSend
from chatmaild.filter.recipients import Recipients
from chatmaild.filter.replies import Verdict
from chatmaild.message.reader import Headers, MessageReader


class Rules(Protocol):
    """A set of rules. `Transaction` calls its methods in this order; a verdict ends it."""

    reader: MessageReader | None
    """Reads the content, if the rules depend on it."""

    @property
    def wanted(self) -> bool:
        """Asked after the last recipient. False: accept the message without reading it."""

    def headers(self, headers: Headers, now: float) -> Verdict | None:
        """The verdict if the headers decide, else None. `now` is in seconds since 1970."""

    def body(self, chunk: bytes) -> None:
        """The next octets of the body, with CRLF line ends."""

    def finish(self) -> Asking[Verdict]:
        """The verdict on the whole message."""


_AUTHORS = ("from", "sender")
NOT_OURS = Verdict("not-ours")
"""The message is accepted: no rules of ours apply."""


class Transaction:
    """Call `mail`, `recipient` for each of them, `data`, `headers`, `body` with the chunks, and
    `finish`.

    Each returns a verdict, or None to go on. A verdict of `recipient` is on that recipient only;
    after any other one call nothing more. Pass whatever returns `Asking` to `questions.run`.
    """

    __slots__ = ("direction", "_config", "_rules", "_outgoing", "_is_of_host", "_is_local",
                 "_shows_chat_user", "_sender", "_recipients")

    def __init__(self, config: Config):
        self.direction = ""
        """``outgoing``, ``incoming``, or "" while no rules of ours apply."""
        self._config = config
        self._rules: Rules | None = None
        self._outgoing: Outgoing | None = None
        self._is_of_host = False    # an ordinary user who logged in, or a local program
        self._is_local = False
        self._shows_chat_user = False   # as the author, though somebody else of the host writes
        self._sender = ""
        self._recipients: Recipients | None = None

    @property
    def reader(self) -> MessageReader | None:
        """Reads the content, if the rules depend on it."""
        return self._rules.reader if self._rules else None

    def mail(self, path: str, client: Client, size: int, now: float,
             resolved: str = "") -> Asking[Verdict | None]:
        """MAIL FROM. `path` is as in SMTP; `resolved` is the address the MTA makes of it
        (user%domain and domain!user are user@domain). `size` is the declared one in octets, 0
        without; `now` is in seconds of the monotonic clock."""
        if client.login and self._config.domain_of(client.login):
            self.direction = "outgoing"
            return (yield from self._mail_of_chat_user(path, client, size, now))
        if any(address.domain_of(address.strip_path(form)) in self._config.domains
               for form in (path, resolved)):
            self.direction = "outgoing"
            return Verdict("sender-without-login", replies.NOT_YOUR_ADDRESS)
        self._is_local = client.is_local
        self._is_of_host = bool(client.login) or client.is_local
        in_clear = not (self._is_of_host or client.tls
                        or is_trusted(self._config, client.network_address))
        self._recipients = Recipients(self._config, split=not client.login, in_clear=in_clear)
        self._rules = Incoming(self._config, self._recipients, client, path)
        return None

    def _mail_of_chat_user(self, path: str, client: Client, size: int, now: float
                           ) -> Asking[Verdict | None]:
        domain = self._config.domain_of(client.login)
        assert domain
        sender = address.parse_path(path)
        if not sender or sender.lower() != client.login.lower():
            return Verdict("sender-is-not-login", replies.NOT_YOUR_SENDER)
        if size > domain.max_message_size:
            return Verdict("too-large", replies.TOO_LARGE)
        self._sender = sender.lower()
        account = yield AccountOf(self._sender)
        if refused := outgoing.check_login(account, client, now, domain):
            return refused
        if not (yield LeaveToSend(self._sender, now,
                                  account.per_minute or domain.max_user_send_per_minute,
                                  account.burst or domain.max_user_send_burst_size)):
            return Verdict("too-fast", replies.TOO_FAST)
        self._rules = self._outgoing = Outgoing(domain, sender)
        self._recipients = Recipients(self._config, split=False)
        return None

    def recipient(self, path: str) -> Asking[Verdict | None]:
        """RCPT TO. Refuses a chat address without an account, whoever writes to it. Does not look
        up the sender's own address: they have an account, and their other devices get a copy of
        all they send.

        Lets local mail go to every address, and leaves refusing to Dovecot: if one recipient were
        refused here, Postfix would keep the message for all of them.
        """
        if self._is_local:
            return None
        assert self._recipients
        to_self = self._outgoing and address.strip_path(path).lower() == self._sender
        refused = None if to_self else (yield from self._recipients.add(path))
        if refused:
            self.direction = self.direction or "incoming"
        elif self._outgoing:
            self._outgoing.recipient(path)
        return refused

    def data(self) -> Verdict | None:
        """All recipients were named; the message follows. From here on `direction` is empty if no
        rules of ours apply."""
        assert self._rules
        if self._rules.wanted:
            self.direction = self.direction or "incoming"
            return None
        self.direction = ""
        return None if self._is_of_host else NOT_OURS

    def note_author(self, name: str, value: bytes) -> None:
        """Note whether a header shows a chat user as the author. Call this for headers that are too
        many for `headers`: ordinary mail may have any number, and no From hides behind the others.
        """
        if self._is_of_host and not self._shows_chat_user and name.lower() in _AUTHORS:
            shown = address.domains_shown(value)
            self._shows_chat_user = not self._config.domains.keys().isdisjoint(shown)

    def headers(self, headers: Headers, now: float) -> Verdict | None:
        """The headers of the message, but for those that are too many. `now` is in seconds since
        1970."""
        assert self._rules
        for name, value in headers:
            self.note_author(name, value)
        if self._shows_chat_user:
            self.direction = "outgoing"
            return Verdict("from-is-a-chat-user", replies.NOT_YOUR_ADDRESS)
        return self._rules.headers(headers, now) if self._rules.wanted else NOT_OURS

    def body(self, chunk: bytes) -> None:
        """The next octets of the body, with CRLF line ends."""
        assert self._rules
        self._rules.body(chunk)

    def finish(self) -> Asking[Verdict]:
        """The message is over. Returns the verdict on it."""
        assert self._rules
        return self._rules.finish()
