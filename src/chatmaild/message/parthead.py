"""The headers of the two parts of an OpenPGP/MIME message.

Values that real programs write in English are known and count nothing. Others, such as translated
descriptions and file names, are free text, and their total length in one part is bounded.
"""

import functools
import re
from collections.abc import Iterator

from chatmaild.message import mediatype
from chatmaild.message.refusal import Refusal

MAX_OCTETS = 1000
"""Octets in all header lines of one part."""

MAX_TEXT = 100
"""Octets of free text in one part: its unknown values and its white space together."""

MAX_FIELDS = 12
"""Headers of one part."""

_HEADER = re.compile(rb"([A-Za-z-]{1,40}):[ \t]*(.*)", re.DOTALL)

_DESCRIPTIONS = frozenset((
    b"pgp/mime version identification",
    b"pgp/mime versions identification",
    b"openpgp encrypted message",
    b"openpgp encrypted message.asc",
    b"pgp encrypted message",
    b"encrypted message",
    b"this is an encrypted message part",
    b"this is a digitally encrypted message part",
))
_FILE_NAMES = frozenset((
    b"encrypted.asc", b"encrypted.pgp", b"encrypted.gpg", b"msg.asc", b"message.asc",
    b"version.asc", b"version.txt", b"version", b"pgpmime_version.asc", b"encrypted", b"pgp.asc",
    b"openpgp-encrypted-message.asc", b"openpgp_encrypted_message.asc", b"encrypted-message.asc",
    b"pgp_encrypted_message.asc", b"gnupg_encrypted_message.txt", b"msg.pgp",
))
# Outlook adds RFC 2183's dates to a file name.
_DATE_PARAMETERS = frozenset(("creation-date", "modification-date", "read-date"))
_DATE = re.compile(
    rb"(?:[A-Z][a-z]{2}, )?[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{5,8} (?:[-+][0-9]{4}|GMT)")
_PRINTABLE = re.compile(rb"[\t -~\x80-\xff]*")
_IN_PLAIN = frozenset((b"7bit", b"8bit"))
_ENCODED = frozenset((b"quoted-printable", b"base64"))


@functools.lru_cache(maxsize=256)
def check(media_type: str, tolerant: bool, lines: tuple[bytes, ...]) -> str:
    """Raise `Refusal` unless these lines are the head of a part of type `media_type`.

    Returns its transfer encoding: quoted-printable, base64, or "" if its lines need no decoding.
    `tolerant` admits these two encodings, and unknown headers and parameters. Programs write the
    same heads again and again, so results are cached.
    """
    seen: set[str] = set()
    encoding = ""
    text = sum(map(len, lines))     # less the names, the known values and one blank each
    for name, value in fields(lines):
        if name in seen:
            raise Refusal("part-header-twice")
        seen.add(name)
        text -= len(name) + 1 + len(value)
        if name == "content-transfer-encoding":
            encoding = _encoding(value.lower(), media_type, tolerant)
        else:
            text += _text(name, value, media_type, tolerant)
    if "content-type" not in seen:
        raise Refusal("part-content-type")
    if text - len(seen) > MAX_TEXT or len(seen) > MAX_FIELDS:
        raise Refusal("part-header-text")
    return encoding


def fields(lines: tuple[bytes, ...]) -> Iterator[tuple[str, bytes]]:
    """The header fields in `lines`, unfolded, with names in lower case. Raises `Refusal`."""
    at = 0
    while at < len(lines):
        end = at + 1
        while end < len(lines) and lines[end][0] in b" \t":
            if not lines[end].strip():
                raise Refusal("part-header-syntax")
            end += 1
        match = _HEADER.fullmatch(b"".join(lines[at:end]))
        if not match:
            raise Refusal("part-header-syntax")
        yield match[1].decode("ascii").lower(), match[2].strip(b" \t")
        at = end


def _encoding(value: bytes, media_type: str, tolerant: bool) -> str:
    """The transfer encoding to decode; "" for none. K-9 and Thunderbird for Android call the
    first part quoted-printable, but its one line has nothing to decode."""
    if value in _IN_PLAIN or tolerant and value == b"binary":
        return ""
    if tolerant and value in _ENCODED:
        return value.decode("ascii")
    if value == b"quoted-printable" and media_type == "application/pgp-encrypted":
        return ""
    raise Refusal("part-transfer-encoding")


def _text(name: str, value: bytes, media_type: str, tolerant: bool) -> int:
    """How many octets of this header are free text."""
    if not _PRINTABLE.fullmatch(value):
        raise Refusal("part-header")
    if name == "content-type":
        parsed = mediatype.parse(value)
        if parsed.name != media_type:
            raise Refusal("part-content-type")
        return parsed.blanks + _parameters(parsed, "name", tolerant)
    if name == "content-disposition":
        return _disposition(value, tolerant)
    if name == "content-description":
        return 0 if value.lower() in _DESCRIPTIONS else len(value)
    if name == "mime-version" and value == b"1.0":
        return 0
    if not tolerant:
        raise Refusal("part-header")
    return len(value) if name.startswith("content-") else len(name) + len(value)


def _disposition(value: bytes, tolerant: bool) -> int:
    try:
        parsed = mediatype.parse(value)
    except Refusal:
        if not tolerant:
            raise
        return len(value)
    text = parsed.blanks + _parameters(parsed, "filename", tolerant)
    if parsed.name in ("inline", "attachment"):
        return text
    if not tolerant:
        raise Refusal("part-header")
    return len(parsed.name) + text


def _parameters(parsed: mediatype.MediaType, name_parameter: str, tolerant: bool) -> int:
    """How many octets of the parameters are free text: unknown file names, and all of those
    parameters that only `tolerant` admits."""
    text = 0
    for key, value in parsed.parameters.items():
        if key == name_parameter:
            text += 0 if value.lower() in _FILE_NAMES else len(value)
        elif key == "charset" and value.lower() in mediatype.CHARSETS:
            continue
        elif not tolerant:
            raise Refusal("part-header")
        elif key not in _DATE_PARAMETERS or not _DATE.fullmatch(value):
            text += len(key) + len(value)
    return text
