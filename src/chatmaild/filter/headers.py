"""Message headers of outgoing mail: which stay, what they may say, and what becomes of the rest.

Only the headers of the message itself are touched, never those of its MIME parts.
"""

import re
from dataclasses import dataclass

from chatmaild.filter.replies import HeaderChange
from chatmaild.message import autocryptkey
from chatmaild.message.reader import Headers
from chatmaild.message.refusal import Refusal

MAX_TEXT_PER_RECIPIENT = 64
"""Octets of header text for each recipient, on top of max_header_text: names and addresses."""

MAX_HEADERS = 1000
"""Header lines in one message."""

_MIME = ("mime-version", "content-type", "content-transfer-encoding")
_ONCE = frozenset((
    "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to",
    "references", "chat-version", "autocrypt", "autocrypt-setup-message", "auto-submitted", *_MIME,
))
_FAMILIES = ("chat-", "secure-join", "autocrypt-gossip", "list-")
_DATE = re.compile(
    rb"\s*(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),\s*)?[0-3]?[0-9]\s+"
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+[0-9]{4}\s+"
    rb"[0-2][0-9]:[0-5][0-9](?::[0-6][0-9])?\s+(?:[-+][0-9]{4}|GMT|UTC?)\s*\Z", re.I
)
# Apple Mail names itself there; the comment goes.
_MIME_VERSION = re.compile(rb"\s*1\.0\s*(?:\((?:Mac OS X Mail|Apple Message framework|iPhone Mail|"
                           rb"iPad Mail)[ v0-9A-F.()\\]{0,40}\))?\s*\Z")
_HIDDEN_SUBJECTS = (b"...", b"[...]")
SUBJECT = "[...]"


@dataclass(frozen=True)
class Cleaned:
    """`text`: octets of free text in the headers that stay; `changes` make the others go."""

    text: int
    changes: tuple[HeaderChange, ...]


def clean(headers: Headers, keep_subject_and_mime: bool = False) -> Cleaned:
    """What to change in the headers of an outgoing message, and how much text remains.

    `keep_subject_and_mime` is for mail that may pass unencrypted: its
    Subject and all of its Content-* and MIME-Version stay as they are, and its Autocrypt header
    is not looked into. Raises `Refusal` for a header twice that may be there once, and for an
    Autocrypt header without a key.
    """
    changes: list[HeaderChange] = []
    counts: dict[str, int] = {}
    text = 0
    for written, value in headers:
        name = written.lower()
        if " " in name or "\t" in name:
            raise Refusal("header-name")
        index = counts[name] = counts.get(name, 0) + 1
        once = name in _ONCE
        if once and index > 1:
            raise Refusal("header-twice")
        if name == "subject":
            if not keep_subject_and_mime and value.strip() not in _HIDDEN_SUBJECTS:
                changes.append(HeaderChange(written, index, SUBJECT))
        elif name == "date":
            text += 0 if _DATE.match(value) else len(value)
        elif name == "mime-version":
            if not keep_subject_and_mime and value.strip() != b"1.0":
                if not _MIME_VERSION.match(value):
                    raise Refusal("mime-version")
                changes.append(HeaderChange(written, index, "1.0"))
        elif name in _MIME:
            pass    # of a fixed form in all that passes encrypted
        elif once or name.startswith(_FAMILIES):
            text += _text(name, value, keep_subject_and_mime)
        elif not (keep_subject_and_mime and name.startswith("content-")):
            changes.append(HeaderChange(written, index, None))
    # From the last to the first, so that the index of those still to be changed stays true.
    return Cleaned(text, tuple(reversed(changes)))


def _text(name: str, value: bytes, anything: bool) -> int:
    if name in ("autocrypt", "autocrypt-gossip") and not anything:
        # Gossip is for a recipient each; in many headers of little the same text could be hidden.
        least = MAX_TEXT_PER_RECIPIENT if name == "autocrypt-gossip" else 0
        return max(least, autocryptkey.free_text(value))
    return len(value.strip()) + (0 if name in _ONCE else len(name))
