"""The first message of a securejoin handshake, which cannot be encrypted yet.

It says only which of two requests it is, in the header ``Secure-Join`` and again as its whole
text. Clients send the text alone, or as the only part of a multipart/mixed.
"""

import re

from chatmaild.message import mediatype, parthead
from chatmaild.message.refusal import Refusal
from chatmaild.message.wholebody import ENCODINGS, WholeBody, decode

MAX_BODY = 4096
"""Octets in the body of such a message."""

STEPS = (b"vc-request", b"vg-request")

MAX_TEXT = 256
"""Octets of its text as encoded; the words take 24."""

MAX_HEADER_TEXT = 1024
"""Octets of text in all headers of such a message: enough for the names, addresses and
identifiers of two people, and the addresses in a key."""

_SHOWN = ("from", "sender", "reply-to", "to", "cc", "subject", "message-id", "in-reply-to",
          "references", "chat-", "list-", "secure-join")
"""Beginnings of the names of headers that mail programs look at. Servers add others on the way."""

_NOT_THE_TEXT = "securejoin-text"
_DESCRIPTIONS = ("content-disposition", "content-description", "content-id", "content-location")
_IDENTIFIER = re.compile(rb"[0-9A-Za-z_-]{1,48}\Z")
_OTHERS = {
    "secure-join-invitenumber": _IDENTIFIER,
    "secure-join-group": _IDENTIFIER,
    "secure-join-fingerprint": re.compile(rb"[0-9A-Fa-f]{40}\Z"),      # of cores up to 1.131
}
_MESSAGE_ID = re.compile(rb"<[0-9A-Za-z_.$+=-]{1,100}@[0-9A-Za-z_.-]{1,100}>\Z")
_PARAMETERS = ("charset", "format", "delsp", "protected-headers", "hp", "hp-legacy-display")
_VALUES = {
    "format": (b"flowed", b"fixed"),
    "delsp": (b"yes", b"no"),
    "protected-headers": (b"v1",),
    "hp": (b"clear",),
    "hp-legacy-display": (b"1",),
}


def step(headers: list[tuple[str, bytes]]) -> bytes | None:
    """The request that the message headers (names in lower case) announce; None if there is none.

    Raises `Refusal` if a ``Secure-Join`` header is wrong, or if headers are there that a request
    does not have.
    """
    found = None
    seen: set[str] = set()
    for name, value in headers:
        if not name.startswith("secure-join"):
            continue
        if name in seen:
            raise Refusal("securejoin-twice")
        seen.add(name)
        value = value.strip()
        if name == "secure-join":
            found = value.lower()
            if found not in STEPS:
                raise Refusal("securejoin-step")
        elif name not in _OTHERS or not _OTHERS[name].match(value):
            raise Refusal("securejoin-header")
    if found:
        _check_company(headers)
    return found


def _check_company(headers: list[tuple[str, bytes]]) -> None:
    """Check the other headers of a request. The policy counts those of outgoing mail again."""
    if any(name in _DESCRIPTIONS and value.strip().lower() != b"inline"
           for name, value in headers):
        raise Refusal("securejoin-header")
    if sum(len(value) for name, value in headers if name.startswith(_SHOWN)) > MAX_HEADER_TEXT:
        raise Refusal("header-text")


class SecurejoinReader(WholeBody):
    """Collects the short body and checks it at the end. Raises `Refusal`."""

    def __init__(self, step: bytes, media_type: mediatype.MediaType, encoding: str):
        super().__init__(MAX_BODY, "securejoin-too-long")
        self._text = b"secure-join: " + step
        self._media_type = media_type
        self._encoding = encoding

    def finish(self) -> None:
        """Check the whole body. Raises `Refusal`."""
        if self._encoding not in ENCODINGS:
            raise Refusal("transfer-encoding")
        lines = self.lines()
        if self._media_type.name == "multipart/mixed":
            self._mixed(lines)
        else:
            self._check_text(self._media_type, self._encoding, lines)

    def _mixed(self, lines: list[bytes]) -> None:
        mediatype.check_parameters(self._media_type, ("boundary", "charset"), "content-type")
        delimiter = b"--" + mediatype.boundary(self._media_type)
        if lines.count(delimiter) != 1 or lines.count(delimiter + b"--") != 1:
            raise Refusal("securejoin-parts", 0)
        begin, end = lines.index(delimiter), lines.index(delimiter + b"--")
        if begin > end or any(lines[:begin]) or any(lines[end + 1:]):
            raise Refusal("securejoin-parts", 0)
        part = lines[begin + 1:end]
        if b"" not in part:
            raise Refusal("securejoin-parts", 0)
        blank = part.index(b"")
        media_type, encoding = _part_head(part[:blank])
        self._check_text(media_type, encoding, part[blank + 1:])

    def _check_text(self, media_type: mediatype.MediaType, encoding: str,
                    lines: list[bytes]) -> None:
        if media_type.name != "text/plain":
            raise Refusal("securejoin-not-text", 0)
        mediatype.check_parameters(media_type, _PARAMETERS, "content-type")
        for key, values in _VALUES.items():
            if media_type.parameters.get(key, values[0]).lower() not in values:
                raise Refusal("content-type", 0)
        if (sum(map(len, lines)) + 2 * len(lines) > MAX_TEXT
                or decode(encoding, lines, _NOT_THE_TEXT).strip(b" \r\n").lower() != self._text):
            raise Refusal(_NOT_THE_TEXT, 0)


def _part_head(lines: list[bytes]) -> tuple[mediatype.MediaType, str]:
    """The type and encoding of the one part. Its other headers must be known ones, and short."""
    media_type, encoding, seen = mediatype.MediaType("text/plain", {}), "", set()
    text = sum(map(len, lines))
    for name, value in parthead.fields(tuple(lines)):
        if name in seen:
            raise Refusal("part-header-twice", 0)
        seen.add(name)
        text -= len(name) + 1 + len(value)
        if name == "content-type":
            media_type = mediatype.parse(value)
            text += media_type.blanks
        elif name == "content-transfer-encoding" and value.lower().decode("latin-1") in ENCODINGS:
            encoding = value.lower().decode("ascii")
        elif name == "message-id" and _MESSAGE_ID.match(value):
            text += len(value)
        elif not (name == "mime-version" and value == b"1.0"
                  or name == "content-disposition" and value.lower() == b"inline"):
            raise Refusal("part-header", 0)
    if text - len(seen) > parthead.MAX_TEXT:
        raise Refusal("part-header-text", 0)
    return media_type, encoding
