"""The headers of the two parts of an OpenPGP/MIME message.

Every value is one that real clients write, so that these headers carry no text of the sender's.
"""

import functools
import re
from collections.abc import Iterator

from chatmaild.message import mediatype
from chatmaild.message.refusal import Refusal

MAX_OCTETS = 1000
"""In all header lines of one part."""

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
_TOLERATED_NAME = re.compile(rb"[A-Za-z0-9_.-]{0,40}")
_TOLERATED_VALUE = re.compile(rb"[ -~]{0,100}")
_MAX_TOLERATED = 5


@functools.lru_cache(maxsize=256)
def check(media_type: str, tolerant: bool, lines: tuple[bytes, ...]) -> None:
    """Raise `Refusal` unless these lines are the head of a part of that type.

    `tolerant` also takes names and headers beyond the known ones, short ones and few. Programs
    write the same heads again and again, so what passed is remembered.
    """
    seen: set[str] = set()
    tolerated = 0
    for name, value in fields(lines):
        if name in seen:
            raise Refusal("part-header-twice")
        seen.add(name)
        if not _known(name, value, media_type, tolerant):
            tolerated += 1
            if (not tolerant or name in _STRUCTURE or tolerated > _MAX_TOLERATED
                    or not _TOLERATED_VALUE.fullmatch(value)):
                raise Refusal("part-content-type" if name == "content-type" else "part-header")
    if "content-type" not in seen:
        raise Refusal("part-content-type")


def fields(lines: tuple[bytes, ...]) -> Iterator[tuple[str, bytes]]:
    """The header fields in `lines`, unfolded, their names in lower case."""
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


def _known(name: str, value: bytes, media_type: str, tolerant: bool) -> bool:
    if name == "content-type":
        parsed = mediatype.parse(value)
        return parsed.name == media_type and _known_names(parsed, "name", tolerant)
    if name == "content-disposition":
        parsed = mediatype.parse(value)
        return (parsed.name in ("inline", "attachment")
                and _known_names(parsed, "filename", tolerant))
    if name == "content-transfer-encoding":
        return value.lower() in (b"7bit", b"8bit")
    if name == "content-description":
        return value.lower() in _DESCRIPTIONS
    return name == "mime-version" and value == b"1.0"


def _known_names(parsed: mediatype.MediaType, name_parameter: str, tolerant: bool) -> bool:
    """Whether its parameters are a known file name, and a charset."""
    for key, value in parsed.parameters.items():
        if key == name_parameter:
            if value.lower() not in _FILE_NAMES and not (
                    tolerant and _TOLERATED_NAME.fullmatch(value)):
                return False
        elif key != "charset" or value.lower() not in mediatype.CHARSETS:
            return False
    return True


_STRUCTURE = ("content-type", "content-transfer-encoding")
