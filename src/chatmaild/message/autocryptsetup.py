"""The Autocrypt Setup Message, with which a person copies their key to another device.

Source: Autocrypt level 1, "Autocrypt Setup Message". The grammar is strict: multipart/mixed of a
few words for people and an application/autocrypt-setup part, an HTML page around one armored
message encrypted with a setup code (SKESK, then SEIPD). Words and page differ between clients and
languages, so only their length is bounded. The policy decides who may get such a message.
"""

import re

from chatmaild.message import mediatype, parthead
from chatmaild.message.armor import ArmorReader
from chatmaild.message.packets import PacketReader
from chatmaild.message.refusal import Refusal
from chatmaild.message.wholebody import ENCODINGS, WholeBody, decode

MAX_BODY = 128 * 1024
"""Octets in the body of such a message."""

MAX_WORDS = 1000
"""Octets of text for people, in the text part, and again in the page."""

_HEADER = "autocrypt-setup-message"
_PART = "application/autocrypt-setup"
_FILE_NAME = b"autocrypt-setup-message.html"
_TAG = re.compile(
    rb"<(?:!DOCTYPE html|meta charset=\"utf-8\" ?/?|/?(?:html|head|title|body|h1|p|br))>", re.I)
_ARMOR_HEADER = re.compile(
    rb"\n(?:Passphrase-Format: numeric9x4|Passphrase-Begin: [0-9]{2})(?=\n|\Z)")


def is_announced(headers: list[tuple[str, bytes]]) -> bool:
    """Whether the message headers (names in lower case) announce a setup message."""
    return [value.strip() for name, value in headers if name == _HEADER] == [b"v1"]


class SetupReader(WholeBody):
    """Collects the body and checks it at the end. Raises `Refusal`."""

    def __init__(self, media_type: mediatype.MediaType):
        super().__init__(MAX_BODY, "setup-too-long")
        mediatype.check_parameters(media_type, ("boundary", "charset"), "content-type")
        self._delimiter = b"--" + mediatype.boundary(media_type)

    def finish(self) -> None:
        """Check the whole body. Raises `Refusal`."""
        lines = self.lines()
        begins = [at for at, line in enumerate(lines) if line == self._delimiter]
        ends = [at for at, line in enumerate(lines) if line == self._delimiter + b"--"]
        if len(begins) != 2 or len(ends) != 1 or ends[0] < begins[1]:
            raise Refusal("setup-parts", 0)
        if any(lines[:begins[0]]) or any(lines[ends[0] + 1:]):
            raise Refusal("setup-parts", 0)
        media_type, words = _part(lines[begins[0] + 1:begins[1]])
        if media_type != "text/plain" or len(words) > MAX_WORDS:
            raise Refusal("setup-words", 0)
        media_type, page = _part(lines[begins[1] + 1:ends[0]])
        if media_type != _PART:
            raise Refusal("setup-parts", 0)
        _check_page(page.replace(b"\r\n", b"\n"))


def _part(lines: list[bytes]) -> tuple[str, bytes]:
    """The type of a part and its decoded content."""
    if b"" not in lines:
        raise Refusal("setup-parts", 0)
    blank = lines.index(b"")
    media_type, encoding, seen = "", "", set()
    for name, value in parthead.fields(tuple(lines[:blank])):
        if name in seen:
            raise Refusal("part-header-twice", 0)
        seen.add(name)
        if name == "content-type":
            parsed = mediatype.parse(value)
            _check_file_name(parsed, "name", ("charset", "format", "delsp"))
            media_type = parsed.name
        elif name == "content-disposition":
            _check_file_name(mediatype.parse(value), "filename", ())
        elif name == "content-transfer-encoding":
            encoding = value.lower().decode("latin-1")
        elif name != "mime-version" or value != b"1.0":
            raise Refusal("part-header", 0)
    if encoding not in ENCODINGS:
        raise Refusal("transfer-encoding", 0)
    return media_type, decode(encoding, lines[blank + 1:], "setup-parts")


def _check_file_name(parsed: mediatype.MediaType, key: str, others: tuple[str, ...]) -> None:
    mediatype.check_parameters(parsed, (key, *others), "part-header")
    if parsed.parameters.get(key, _FILE_NAME) != _FILE_NAME or any(
            len(value) > 20 for name, value in parsed.parameters.items() if name != key):
        raise Refusal("part-header", 0)


def _check_page(page: bytes) -> None:
    before, begin, rest = page.partition(b"<pre>")
    armored, end, behind = rest.partition(b"</pre>")
    if not begin or not end or b"\0" in page:
        raise Refusal("setup-page", 0)
    words = _TAG.sub(b"", before + behind)
    if len(words) > MAX_WORDS or b"<" in words or b">" in words:
        raise Refusal("setup-page", 0)
    head, blank, data = armored.strip().partition(b"\n\n")
    _check_armor((_ARMOR_HEADER.sub(b"", head) + blank + data).replace(b"\n", b"\r\n"))


def _check_armor(armored: bytes) -> None:
    packets = PacketReader()
    armor = ArmorReader(packets, tolerant=False)
    try:
        used = armor.feed(armored + b"\r\n")
        armor.finish()
    except Refusal as refusal:
        raise Refusal(refusal.reason, 0) from None
    if used < len(armored):
        raise Refusal("setup-page", 0)
    kinds = packets.summary.session_keys
    if sum(kinds.values()) != 1 or not "".join(kinds).startswith("SKESK"):
        raise Refusal("setup-not-by-code", 0)
