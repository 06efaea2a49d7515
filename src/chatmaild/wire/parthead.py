"""The headers of the two parts of an OpenPGP/MIME message.

Every value is one that real clients write, so that these headers carry no text of the sender's.
"""

import re

from chatmaild.wire import mediatype
from chatmaild.wire.refusal import Refusal

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


class PartHead:
    """Give it the lines of a part's head; then `finish`.

    `tolerant` also takes names and headers beyond the known ones, short ones and few.
    """

    def __init__(self, media_type: str, tolerant: bool):
        self._media_type = media_type
        self._tolerant = tolerant
        self._octets = 0
        self._lines: list[bytes] = []
        self._seen: set[str] = set()
        self._tolerated = 0

    def line(self, line: bytes) -> None:
        """One line of the head, without its end. Raises `Refusal`."""
        self._octets += len(line)
        if self._octets > MAX_OCTETS:
            raise Refusal("part-head-too-long")
        if line[0] in b" \t":
            if not self._lines or not line.strip():
                raise Refusal("part-header-syntax")
            self._lines.append(line)
            return
        self._take()
        self._lines = [line]

    def finish(self) -> None:
        """The blank line after the head. Raises `Refusal`."""
        self._take()
        if "content-type" not in self._seen:
            raise Refusal("part-content-type")

    def _take(self) -> None:
        """Check the header whose lines are complete."""
        if not self._lines:
            return
        match = _HEADER.fullmatch(b"".join(self._lines))
        if not match:
            raise Refusal("part-header-syntax")
        name = match[1].decode("ascii").lower()
        value = match[2].strip(b" \t")
        if name in self._seen:
            raise Refusal("part-header-twice")
        self._seen.add(name)
        if not self._known(name, value):
            self._tolerated += 1
            if (not self._tolerant or name in _STRUCTURE or self._tolerated > _MAX_TOLERATED
                    or not _TOLERATED_VALUE.fullmatch(value)):
                raise Refusal("part-content-type" if name == "content-type" else "part-header")

    def _known(self, name: str, value: bytes) -> bool:
        if name == "content-type":
            media_type = mediatype.parse(value)
            return media_type.name == self._media_type and self._known_names(media_type, "name")
        if name == "content-disposition":
            disposition = mediatype.parse(value)
            return (disposition.name in ("inline", "attachment")
                    and self._known_names(disposition, "filename"))
        if name == "content-transfer-encoding":
            return value.lower() in (b"7bit", b"8bit")
        if name == "content-description":
            return value.lower() in _DESCRIPTIONS
        return name == "mime-version" and value == b"1.0"

    def _known_names(self, media_type: mediatype.MediaType, name_parameter: str) -> bool:
        """Whether its parameters are a known file name, and a charset."""
        for key, value in media_type.parameters.items():
            if key == name_parameter:
                if value.lower() not in _FILE_NAMES and not (
                        self._tolerant and _TOLERATED_NAME.fullmatch(value)):
                    return False
            elif key != "charset" or value.lower() not in mediatype.CHARSETS:
                return False
        return True


_STRUCTURE = ("content-type", "content-transfer-encoding")
