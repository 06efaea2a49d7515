"""Message headers of outgoing mail: which stay, how much text they may hold, which are removed.

Only the headers of the message itself are touched, never those of its MIME parts.
"""

import re
from dataclasses import dataclass

from chatmaild.filter.replies import HeaderChange
from chatmaild.message import autocryptkey
from chatmaild.message.reader import Headers
from chatmaild.message.refusal import Refusal

MAX_TEXT_PER_RECIPIENT = 64
"""Octets of header text for each recipient that the headers name, on top of max_header_text."""

MAX_HEADERS = 1000
"""Header lines in one message."""

SUBJECT = "[...]"
"""Replaces the Subject of encrypted mail."""

_HIDDEN_SUBJECTS = (b"...", b"[...]")
_MIME = ("mime-version", "content-type", "content-transfer-encoding")
_KEYS = ("autocrypt", "autocrypt-gossip")
_ONCE = frozenset((
    "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to",
    "references", "chat-version", "autocrypt", "autocrypt-setup-message", "auto-submitted", *_MIME,
))
_FAMILIES = ("chat-", "secure-join", "autocrypt-gossip", "list-")
_MAX_FIXED = 100
"""Octets in a value of a fixed form: a date, a version. Patterns see nothing longer."""

_DATE = re.compile(
    rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),[ \t\r\n]*)?[0-3]?[0-9][ \t\r\n]+"
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[ \t\r\n]+[0-9]{4}[ \t\r\n]+"
    rb"[0-2][0-9]:[0-5][0-9](?::[0-6][0-9])?[ \t\r\n]+(?:[-+][0-9]{4}|GMT|UTC?)", re.I
)
# Apple Mail names itself in a comment, which is removed.
_MIME_VERSION = re.compile(rb"1\.0[ \t\r\n]*(?:\((?:Mac OS X Mail|Apple Message framework|"
                           rb"iPhone Mail|iPad Mail)[ v0-9A-F.()\\]{0,40}\))?")
_BETWEEN_ADDRESSES = re.compile(rb"[\s<>(),:;\"]+")


@dataclass(frozen=True)
class Cleaned:
    """`text` is the octets of free text in the headers that stay, `named` how many recipients
    they name. `changes` remove the other headers."""

    text: int
    named: int
    changes: tuple[HeaderChange, ...]


def clean(headers: Headers, recipients: frozenset[bytes], budget: int) -> Cleaned:
    """What to change in the headers of an encrypted message, and how much text remains.

    `recipients` are the addresses that the message goes to, in lower case. Counting stops beyond
    `budget` octets and what all recipients add to it. Removes a From after the first. Raises
    `Refusal` for any other header that must not repeat, and for an Autocrypt header without a key.
    """
    cleaning = _Cleaning(recipients, budget + MAX_TEXT_PER_RECIPIENT * len(recipients))
    for written, name, index, value in _numbered(headers):
        if name == "from" and index > 1:
            cleaning.change(written, index, None)
        elif name in _KEYS:
            cleaning.key(written, name, index, value)
        elif name in ("subject", "date", "mime-version"):
            cleaning.fixed(written, name, index, value)
        elif name in _MIME:
            cleaning.text += _outer_blanks(value)       # the rest is of a fixed form
        elif name in _ONCE or name.startswith(_FAMILIES):
            cleaning.free(name, value)
        else:
            cleaning.change(written, index, None)
    return cleaning.done()


def clean_exempt(headers: Headers) -> Cleaned:
    """The same for mail that may pass unencrypted: Subject and MIME headers stay as they are, and
    nothing is counted. Raises `Refusal` for a header that must not repeat."""
    changes = [HeaderChange(written, index, None)
               for written, name, index, _ in _numbered(headers)
               if name not in _ONCE and not name.startswith((*_FAMILIES, "content-"))
               or name == "from" and index > 1]
    return Cleaned(0, 0, tuple(reversed(changes)))


def without_repeated_from(headers: Headers) -> Headers:
    """The headers (names in lower case) without those that `clean` removes: every From after the
    first."""
    places = [index for index, header in enumerate(headers) if header[0] == "from"]
    if len(places) < 2:
        return headers
    repeated = frozenset(places[1:])
    return [header for index, header in enumerate(headers) if index not in repeated]


def _numbered(headers: Headers) -> list[tuple[str, str, int, bytes]]:
    """Each header as (name as written, name in lower case, number among those of this name from 1,
    value). Raises `Refusal` for one that must not be there. The caller deals with a second From.
    """
    counts: dict[str, int] = {}
    found = []
    for written, value in headers:
        name = written.lower()
        if " " in name or "\t" in name:
            raise Refusal("header-name")
        index = counts[name] = counts.get(name, 0) + 1
        if index > 1 and name in _ONCE and name != "from":
            raise Refusal("header-twice")
        found.append((written, name, index, value))
    return found


class _Cleaning:
    """Counts text and collects changes; each method takes headers of one kind."""

    def __init__(self, recipients: frozenset[bytes], most: int):
        self.text = 0
        self._recipients = recipients
        self._most = most
        self._named: set[bytes] = set()
        self._changes: list[HeaderChange] = []

    def change(self, written: str, index: int, value: str | None) -> None:
        self._changes.append(HeaderChange(written, index, value))

    def key(self, written: str, name: str, index: int, value: bytes) -> None:
        """A key. Removes a header that recipients must ignore: nobody would miss it."""
        header = autocryptkey.read(value, self._most - self.text)
        if header is None:
            self.change(written, index, None)
            return
        gossip = name == "autocrypt-gossip"
        # There is one for each recipient: many small ones could hide as much text as a large one.
        self.text += max(MAX_TEXT_PER_RECIPIENT if gossip else 0, header.text)
        if gossip and header.address in self._recipients:
            self._named.add(header.address)

    def fixed(self, written: str, name: str, index: int, value: bytes) -> None:
        """A value of a fixed form; replaces it where it must be another one."""
        stripped = value.strip()
        plain = len(value) - len(stripped) - value.startswith(b" ") <= 1
        if name == "subject":
            if stripped not in _HIDDEN_SUBJECTS or not plain:
                self.change(written, index, SUBJECT)
        elif name == "date":
            known = plain and len(stripped) <= _MAX_FIXED and _DATE.fullmatch(stripped)
            self.text += 0 if known else len(value)
        elif stripped != b"1.0" or not plain:
            if len(stripped) > _MAX_FIXED or not _MIME_VERSION.fullmatch(stripped):
                raise Refusal("mime-version")
            self.change(written, index, "1.0")

    def free(self, name: str, value: bytes) -> None:
        """Names, addresses, identifiers: all of the value counts, and the name if the client chose
        it."""
        self.text += len(value) - value.startswith(b" ")    # less the one blank after the colon
        if name not in _ONCE:
            self.text += len(name)
        if name in ("to", "cc"):
            self._named.update(
                self._recipients.intersection(_BETWEEN_ADDRESSES.split(value.lower())))

    def done(self) -> Cleaned:
        # From the last to the first, so that the numbers of those before it stay right.
        return Cleaned(self.text, len(self._named), tuple(reversed(self._changes)))


def _outer_blanks(value: bytes) -> int:
    """How much white space is around a value, beyond the one blank after the colon."""
    blanks = len(value) - len(value.strip())
    return blanks - 1 if value[:1] == b" " else blanks
