"""The rules for outgoing mail: may this chat user send this message?"""

from itertools import chain

from chatmaild import address
from chatmaild.config.config import DomainConfig
from chatmaild.filter import headers as header_policy, replies
from chatmaild.filter.client import Client
from chatmaild.filter.questions import Account, Asking, MailboxState
from chatmaild.filter.replies import Verdict
from chatmaild.message import securejoin
from chatmaild.message.reader import ContentKind, Headers, MessageReader, ReaderOptions, lower_names
from chatmaild.message.refusal import Refusal

MAX_SESSION = 86_400
"""Seconds that a session may last. Ended accounts are remembered longer."""


def check_login(account: Account, client: Client, now: float, domain: DomainConfig
                ) -> Verdict | None:
    """The verdict if the session's login is not that of the account as it is now, else None.

    A milter does not learn when somebody logged in, only when they connected, which was earlier. A
    sender in `passthrough_senders` may have their account elsewhere. `now` is in seconds of the
    monotonic clock.
    """
    if account.state is MailboxState.BLOCKED:
        return Verdict("sender-blocked", replies.NO_ACCOUNT)
    if account.ended is not None and client.connected <= account.ended <= now:
        return Verdict("sender-ended", replies.LOG_IN_AGAIN)
    if account.state is MailboxState.UNKNOWN and not (
            account.ended is None and matches(domain.passthrough_senders, client.login)):
        return Verdict("sender-unknown", replies.NO_ACCOUNT)
    if now - client.connected > MAX_SESSION:
        return Verdict("session-too-old", replies.TOO_OLD)
    return None


def check_from(headers: Headers, sender: str) -> Verdict | None:
    """The verdict unless there is exactly one From, with the sender's address alone, and no Sender
    but theirs; else None.

    Delta Chat 1.142 repeats From in handshakes in cleartext: the same line twice counts as one.
    Names of `headers` are in lower case.
    """
    found = [value for name, value in headers if name == "from"]
    if len(set(found)) != 1:
        return Verdict("from-missing" if not found else "from-twice", replies.WRONG_FROM)
    # Chat clients write no name: it is in the encrypted part.
    alone = f"<{sender}>".encode("utf-8", "surrogateescape")
    if found[0].removeprefix(b" ") != alone and (refused := _check_mailbox(found[0], sender)):
        return refused
    for name, value in headers:
        if name == "sender":
            submitter = address.parse_mailbox(value)
            if submitter is None or submitter.address.lower() != sender.lower():
                return Verdict("sender-header", replies.WRONG_FROM)
    return None


def _check_mailbox(value: bytes, sender: str) -> Verdict | None:
    """The verdict unless the value of a From is the sender's address, and shows no other."""
    mailbox = address.parse_mailbox(value)
    if mailbox is None:
        return Verdict("from-syntax", replies.WRONG_FROM)
    if mailbox.address.lower() != sender.lower():
        return Verdict("from-is-not-sender", replies.WRONG_FROM)
    if address.names_another(mailbox):
        return Verdict("from-shows-another-address", replies.WRONG_FROM)
    return None


def matches(patterns: frozenset[str], mail_address: str) -> bool:
    """Whether `patterns`, in lower case, list the address or its @domain."""
    if not patterns:
        return False
    lowered = mail_address.lower()
    return lowered in patterns or "@" + lowered.rpartition("@")[2] in patterns


class Outgoing:
    """The rules for one message of a chat user whose envelope sender is right. The interface is
    `transaction.Rules`; call `recipient` for each recipient first."""

    wanted = True
    """Always: the rules need the whole message."""

    def __init__(self, domain: DomainConfig, sender: str):
        self._domain = domain
        self._sender = sender
        self._recipients: set[str] = set()
        self._all_listed = True
        self._size = 0
        self._exempt = False
        self._cleaned = header_policy.Cleaned(0, 0, ())
        self.reader: MessageReader | None = None

    def recipient(self, path: str) -> None:
        """Add a recipient that was accepted; `path` as in SMTP."""
        recipient = address.strip_path(path).lower()
        self._recipients.add(recipient)
        self._all_listed &= matches(self._domain.passthrough_recipients, recipient)

    def headers(self, headers: Headers, now: float) -> Verdict | None:
        """The verdict if the headers decide, else None."""
        self._size = 4 * len(headers) + sum(map(len, chain.from_iterable(headers)))
        lowered = lower_names(headers)
        if refused := self._too_large() or check_from(lowered, self._sender):
            return refused
        lowered = header_policy.without_repeated_from(lowered)
        self._exempt = (matches(self._domain.passthrough_senders, self._sender)
                        or bool(self._recipients) and self._all_listed)
        try:
            return self._judge_headers(headers, lowered)
        except Refusal as refusal:
            return Verdict(refusal.reason, replies.UNENCRYPTED)

    def _judge_headers(self, headers: Headers, lowered: Headers) -> Verdict | None:
        if self._exempt:
            self._cleaned = header_policy.clean_exempt(headers)
            return None
        self.reader = MessageReader(lowered, ReaderOptions(
            setup=self._domain.allow_autocrypt_setup and self._recipients == {self._sender.lower()},
            max_session_keys=self._domain.max_session_keys))
        if refused := self._refused_content():
            return refused
        budget = self._domain.max_header_text
        if self.reader.announced is ContentKind.SECUREJOIN:
            budget = min(budget, securejoin.MAX_HEADER_TEXT)
        recipients = frozenset(recipient.encode("utf-8", "surrogateescape")
                               for recipient in self._recipients)
        self._cleaned = header_policy.clean(headers, recipients, budget)
        budget += header_policy.MAX_TEXT_PER_RECIPIENT * self._cleaned.named
        if self._cleaned.text > budget:
            raise Refusal("header-text")
        return None

    def body(self, chunk: bytes) -> None:
        """The next octets of the body, with CRLF line ends."""
        self._size += len(chunk)
        if self.reader:
            self.reader.feed(chunk)

    def finish(self) -> Asking[Verdict]:
        """The verdict on the whole message."""
        yield from ()   # asks nothing
        if refused := self._too_large():
            return refused
        if self._exempt:
            return Verdict("passthrough", changes=self._cleaned.changes)
        assert self.reader
        content = self.reader.finish()
        return self._refused_content() or Verdict(content.kind.value, changes=self._cleaned.changes)

    def _too_large(self) -> Verdict | None:
        if self._size > self._domain.max_message_size:
            return Verdict("too-large", replies.TOO_LARGE)
        return None

    def _refused_content(self) -> Verdict | None:
        content = self.reader.content if self.reader else None
        if content is None or content.kind in (
                ContentKind.ENCRYPTED, ContentKind.SECUREJOIN, ContentKind.SETUP):
            return None
        return Verdict(content.reason or content.kind.value, replies.UNENCRYPTED,
                       offset=content.offset)
