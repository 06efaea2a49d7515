"""Verdicts on messages and recipients, and the replies that the SMTP client gets.

The replies are all that a sender learns from us: what to do, never how we are built. Delta Chat
looks for "Invalid Unencrypted Mail" in the text of a refusal, and takes a text that begins with
"5.5.0" for a temporary fault; a test holds both.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """An SMTP reply (RFC 5321) with its enhanced status code (RFC 3463)."""

    code: str
    status: str
    text: str


NOT_YOUR_SENDER = Reply("553", "5.7.1", "Sender address rejected: log in as the sender")
NOT_YOUR_ADDRESS = Reply("554", "5.7.1", "This address belongs to somebody who has to log in")
TOO_LARGE = Reply("552", "5.3.4", "Message is larger than this server takes")
TOO_FAST = Reply("450", "4.7.1", "Too many messages in a short time, try again in a minute")
NO_ACCOUNT = Reply("550", "5.7.1", "This account is blocked or does not exist any more")
LOG_IN_AGAIN = Reply("550", "5.7.1",
                     "This account or its password changed since your login, log in again")
TOO_OLD = Reply("421", "4.7.0", "This connection is too old, log in again")
WRONG_FROM = Reply("554", "5.7.1", "Invalid From: must be exactly one address, the sender's own")
INVALID_FROM = Reply("554", "5.7.1", "Invalid From: must be exactly one address, in ASCII")
UNKNOWN_RECIPIENT = Reply("550", "5.1.1", "No such user here")
NEEDS_TLS = Reply("530", "5.7.0", "This address takes mail over TLS only, use STARTTLS")
SEPARATELY = Reply("452", "4.5.3", "Too many recipients, send to this one separately")
NOT_AUTHENTIC = Reply("554", "5.7.1", "No valid DKIM signature found for the domain in From")
NOT_CHECKABLE = Reply("451", "4.7.1", "The DKIM signature cannot be checked now, try again later")
UNENCRYPTED = Reply("523", "5.7.1", "Encryption Needed: Invalid Unencrypted Mail")
TROUBLE = Reply("451", "4.3.0", "Temporary trouble on our side, try again later")


@dataclass(frozen=True)
class HeaderChange:
    """Replace the `index`-th header of that name, from 1, or delete it if `value` is None."""

    name: str
    index: int
    value: str | None


@dataclass(frozen=True)
class Verdict:
    """The decision about a message or a recipient.

    Without a `reply` it is accepted, with `changes` to the headers. `reason` is a code for the
    log, and never quotes the message. `offset` is the place in the body that is to blame, if any.
    """

    reason: str
    reply: Reply | None = None
    changes: tuple[HeaderChange, ...] = ()
    offset: int | None = None

    @property
    def accepted(self) -> bool:
        """Whether it is neither deferred nor refused."""
        return self.reply is None

    @property
    def word(self) -> str:
        """``accept``, ``defer`` or ``refuse``, for the log."""
        if self.reply is None:
            return "accept"
        return "defer" if self.reply.code[0] == "4" else "refuse"
