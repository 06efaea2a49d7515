"""The rules for incoming mail: may this message, which no chat user sent, go to chat users?

It must be authentic. If one of its recipients wants encrypted mail only, it must be encrypted.
"""

import functools
import ipaddress
import re
from typing import TYPE_CHECKING

from chatmaild import address
from chatmaild.config.config import Config
from chatmaild.filter import replies
from chatmaild.filter.client import Client
from chatmaild.filter.questions import Asking, KeysAt
from chatmaild.filter.recipients import Recipients
from chatmaild.filter.replies import Verdict
from chatmaild.message import mediatype
from chatmaild.message.reader import (
    Content, ContentKind, Headers, MessageReader, ReaderOptions, lower_names,
)
from chatmaild.message.refusal import Refusal

if TYPE_CHECKING:   # a filter for outgoing mail saves megabytes
    from chatmaild.dkim.verification import Authenticity, DkimCheck, Fields

_BLANKS = b" \t\r\n"
_BLANK = (b" ", b"\t", b"\r", b"\n")
_NOT_IN_COMMENT = frozenset(b"()\\<>@")
_TOKEN = re.compile(rb"[ \t\r\n]*([A-Za-z-]+)")


class Incoming:
    """The rules for one message; the interface is `transaction.Rules`."""

    def __init__(self, config: Config, recipients: Recipients, client: Client, sender_path: str):
        """`recipients` must be complete when `wanted` is asked. `sender_path` is the reverse-path
        as in SMTP."""
        self._config = config
        self._client = client
        self._sender = address.strip_path(sender_path)
        self._recipients = recipients
        self._asks_authenticity = (
            config.incoming_authenticity != "off"
            and not client.login and not is_trusted(config, client.network_address)
        )
        self._dkim: "DkimCheck | None" = None
        self._authenticity: "Authenticity | None" = None
        self._from = ""
        self._headers: Headers = []
        self.reader: MessageReader | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is a chat user among the recipients, so that the rules apply."""
        return self._recipients.chat

    def headers(self, headers: Headers, now: float) -> Verdict | None:
        """The verdict if the headers decide, else None. `now` is in seconds since 1970."""
        # Mail programs read "From : x" as a From.
        lowered = [(name.rstrip(" \t"), value) for name, value in lower_names(headers)]
        sender = from_address(lowered)
        if sender is None:
            return Verdict("from-invalid", replies.INVALID_FROM)
        if self._config.domain_of(sender):
            return Verdict("from-is-a-chat-user", replies.NOT_YOUR_ADDRESS)
        self._from = sender
        if self._recipients.enforcing:
            self._headers = lowered
            self.reader = MessageReader(lowered, ReaderOptions(tolerant=True))
            if refused := self._refused_content(self.reader.content):
                return refused
        if self._asks_authenticity:
            self._begin_authenticity(fields(headers), address.domain_of(sender), now)
        return None

    def _begin_authenticity(self, received: "Fields", from_domain: str, now: float) -> None:
        from chatmaild.dkim import verification
        config = self._config
        if (literal := address.literal(from_domain)) is not None:
            self._authenticity = verification.from_literal(literal, self._client.network_address)
        elif config.incoming_authenticity.startswith("authentication-results"):
            self._authenticity = verification.from_results(
                received, config.authserv_id.lower(), from_domain)
        else:
            self._dkim = verification.DkimCheck(
                received, from_domain, now, config.dkim_min_rsa_bits)

    def body(self, chunk: bytes) -> None:
        """The next octets of the body, with CRLF line ends."""
        if self.reader:
            self.reader.feed(chunk)
        if self._dkim:
            self._dkim.body(chunk)

    def finish(self) -> Asking[Verdict]:
        """The verdict on the whole message. May ask for DKIM keys."""
        content = self.reader.finish() if self.reader else None
        if refused := self._refused_content(content):
            return refused
        accepted = content.kind.value if content else "cleartext-allowed"
        if not self._asks_authenticity:
            return Verdict(accepted)
        if self._dkim:
            self._authenticity = self._dkim.result((yield KeysAt(self._dkim.finish())))
        found = self._authenticity
        assert found
        if found.state.name == "VALID":
            return Verdict(accepted)
        if self._config.incoming_authenticity.endswith("-log"):
            return Verdict(f"{accepted} would-refuse={found.code}")
        reply = replies.NOT_CHECKABLE if found.state.name == "UNKNOWN" else replies.NOT_AUTHENTIC
        return Verdict(found.code, reply)

    def _refused_content(self, content: Content | None) -> Verdict | None:
        if content is None or content.kind in (ContentKind.ENCRYPTED, ContentKind.SECUREJOIN):
            return None
        if content.kind is ContentKind.REPORT:
            reason = self._report_fault()
            return Verdict(reason, replies.UNENCRYPTED) if reason else None
        return Verdict(content.reason or content.kind.value, replies.UNENCRYPTED,
                       offset=content.offset)

    def _report_fault(self) -> str:
        """Why this multipart/report is not a delivery report (RFC 3464); "" if it is one."""
        if self._sender:
            return "report-with-sender"
        if self._from.rpartition("@")[0].lower() != "mailer-daemon":
            return "report-not-from-mailer-daemon"
        automatic = [value for name, value in self._headers if name == "auto-submitted"]
        match = _TOKEN.match(automatic[0]) if len(automatic) == 1 else None
        if not match or match[1].lower() == b"no":
            return "report-not-auto-submitted"
        content_type = next(value for name, value in self._headers if name == "content-type")
        try:
            kind = mediatype.parse(content_type.strip()).parameters.get("report-type", b"")
        except Refusal as refusal:
            return refusal.reason
        return "" if kind.lower() in (b"", b"delivery-status") else "report-of-other-type"


def from_address(headers: Headers) -> str | None:
    """The address in From; None unless there is exactly one From with exactly one address.

    Names of `headers` are in lower case. The same line may come again, as Delta Chat 1.142 writes
    it. A comment after a bare address is allowed, as cron writes it.
    """
    found = [value for name, value in headers if name == "from"]
    if len(set(found)) != 1 or len(found[0]) > address.MAX_MAILBOX:
        return None
    mailbox = address.parse_mailbox(_without_trailing_comment(found[0]))
    return mailbox.address if mailbox else None


def _without_trailing_comment(value: bytes) -> bytes:
    before, opening, comment = value.rstrip(_BLANKS).rpartition(b"(")
    if (opening and comment.endswith(b")") and _NOT_IN_COMMENT.isdisjoint(comment[:-1])
            and before.endswith(_BLANK)):
        return before
    return value


def is_trusted(config: Config, client_address: str) -> bool:
    """Whether a client is in `trusted_networks`; an unknown address is not."""
    found = _parsed(client_address)
    return found is not None and any(found in network for network in config.trusted_networks)


@functools.lru_cache(maxsize=1024)
def _parsed(client_address: str) -> address.NetworkAddress | None:
    """Each message asks twice, and takes longer to parse its client's address than to look it up.
    """
    try:
        return ipaddress.ip_address(client_address)
    except ValueError:
        return None


def fields(headers: Headers) -> "Fields":
    """The headers as DKIM hashes them: octets, folds as CRLF."""
    return [(name.encode("utf-8", "surrogateescape"),
             value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) for name, value in headers]
