"""Outgoing mail: may this chat user send this message?"""

from itertools import chain

from chatmaild import address
from chatmaild.config.config import DomainConfig
from chatmaild.filter import headers as header_policy, replies
from chatmaild.filter.replies import Verdict
from chatmaild.message.reader import Headers, Kind, Limits, MessageReader, lower_names
from chatmaild.message.refusal import Refusal


def check_sender(sender: str | None, login: str) -> Verdict | None:
    """A chat user sends as himself. `sender` is the envelope's, "" for the null sender and None
    for what is no address; logins come in lower case."""
    if not sender or sender.lower() != login.lower():
        return Verdict("sender-is-not-login", replies.NOT_YOUR_SENDER)
    return None


def check_from(headers: Headers, sender: str) -> Verdict | None:
    """Exactly one From, of exactly one address, the sender's; and no Sender but him.

    Names of `headers` are in lower case."""
    found = [value for name, value in headers if name == "from"]
    if len(found) != 1:
        return Verdict("from-missing" if not found else "from-twice", replies.WRONG_FROM)
    mailbox = address.parse_mailbox(found[0])
    if mailbox is None:
        return Verdict("from-syntax", replies.WRONG_FROM)
    if mailbox.address.lower() != sender.lower():
        return Verdict("from-is-not-sender", replies.WRONG_FROM)
    if address.names_another(mailbox):
        return Verdict("from-shows-another-address", replies.WRONG_FROM)
    for name, value in headers:
        if name == "sender":
            submitter = address.parse_mailbox(value)
            if submitter is None or submitter.address.lower() != sender.lower():
                return Verdict("sender-header", replies.WRONG_FROM)
    return None


def matches(patterns: frozenset[str], mail_address: str) -> bool:
    """Whether an address is listed, itself or by its @domain."""
    if not patterns:
        return False
    lowered = mail_address.lower()
    return lowered in patterns or "@" + lowered.rpartition("@")[2] in patterns


class Outgoing:
    """The rules for one message of a chat user, after its envelope sender was found right.

    Call `recipient` for each, then `headers`, `body` with the chunks, and `finish`; a verdict
    ends it early.
    """

    wanted = True
    """Whether headers and body have to be seen."""

    def __init__(self, domain: DomainConfig, sender: str):
        self._domain = domain
        self._sender = sender
        self._recipients = 0
        self._listed = 0
        self._to_self = 0
        self._size = 0
        self._exempt = False
        self._cleaned = header_policy.Cleaned(0, ())
        self.reader: MessageReader | None = None

    def recipient(self, path: str) -> Verdict | None:
        self._recipients += 1
        recipient = path.strip("<> ")
        self._listed += matches(self._domain.passthrough_recipients, recipient)
        self._to_self += recipient.lower() == self._sender.lower()
        return None

    def headers(self, headers: Headers) -> Verdict | None:
        """The verdict, if the headers already decide."""
        self._size = 4 * len(headers) + sum(map(len, chain.from_iterable(headers)))
        lowered = lower_names(headers)
        if refused := self._too_large() or check_from(lowered, self._sender):
            return refused
        self._exempt = (matches(self._domain.passthrough_senders, self._sender)
                        or 0 < self._recipients == self._listed)
        try:
            self._cleaned = header_policy.clean(headers, keep_subject_and_mime=self._exempt)
        except Refusal as refusal:
            return Verdict(refusal.reason, replies.UNENCRYPTED)
        if self._exempt:
            return None
        budget = (self._domain.max_header_text
                  + header_policy.MAX_TEXT_PER_RECIPIENT * self._recipients)
        if self._cleaned.text > budget:
            return Verdict("header-text", replies.UNENCRYPTED)
        self.reader = MessageReader(lowered, Limits(
            setup=self._domain.allow_autocrypt_setup and 0 < self._recipients == self._to_self,
            max_session_keys=self._domain.max_session_keys))
        return self._refused_content()

    def body(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self.reader:
            self.reader.feed(chunk)

    def finish(self) -> Verdict:
        if refused := self._too_large():
            return refused
        if self._exempt:
            return Verdict("passthrough", changes=self._cleaned.changes)
        content = self.reader.finish()
        return self._refused_content() or Verdict(content.kind.value, changes=self._cleaned.changes)

    def _too_large(self) -> Verdict | None:
        if self._size > self._domain.max_message_size:
            return Verdict("too-large", replies.TOO_LARGE)
        return None

    def _refused_content(self) -> Verdict | None:
        content = self.reader.content
        if content is None or content.kind in (Kind.ENCRYPTED, Kind.SECUREJOIN, Kind.SETUP):
            return None
        return Verdict(content.reason or content.kind.value, replies.UNENCRYPTED,
                       offset=content.offset)
