"""Tag lists, ``name=value; name=value``: the form of signatures and of key records.

Source: RFC 6376 section 3.2, read as widely as dkimpy and OpenDKIM both read it, because what
both take for valid is in use: names need only begin with a letter, white space is whatever C's
isspace(3) calls so, and in the base64 of a key other characters mean nothing (RFC 2045 section
6.8), such as the quotes that people paste into records.
"""

import binascii
import re

from chatmaild.errors import ChatmaildError

WHITE_SPACE = b" \t\r\n\x0b\x0c"

_NAME = re.compile(rb"[A-Za-z][^ \t\r\n\x0b\x0c]*\Z")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+=*\Z")
_BLANKS = re.compile(rb"[ \t\r\n\x0b\x0c]+")


class DkimSyntaxError(ChatmaildError, ValueError):
    """A signature or a key record that cannot be used; the text says why, without addresses."""


class TagList:
    """The tags of one list, each in the order given and with the white space around it gone."""

    def __init__(self, text: bytes):
        """Raises `DkimSyntaxError` if this is no tag list, or one with a name twice."""
        self._values: dict[bytes, bytes] = {}
        specs = text.split(b";")
        if not specs[-1].strip(WHITE_SPACE):
            specs.pop()
        for spec in specs:
            name, equals, value = spec.partition(b"=")
            name = name.strip(WHITE_SPACE)
            if not equals or not _NAME.match(name):
                raise DkimSyntaxError("not a list of tag=value")
            if name in self._values:
                raise DkimSyntaxError(f"{name[:20].decode('ascii', 'replace')}= is given twice")
            self._values[name] = value.strip(WHITE_SPACE)

    def __contains__(self, name: str) -> bool:
        return name.encode() in self._values

    def get(self, name: str, default: bytes = b"") -> bytes:
        """The value of a tag; `default` where it is missing."""
        return self._values.get(name.encode(), default)

    def required(self, name: str) -> bytes:
        """The value of a tag. Raises `DkimSyntaxError` where it is missing or empty."""
        value = self.get(name)
        if not value:
            raise DkimSyntaxError(f"{name}= is missing or empty")
        return value

    def items(self, name: str, default: bytes = b"") -> tuple[bytes, ...]:
        """The items of a list with colons; empty ones are left out."""
        items = (item.strip(WHITE_SPACE) for item in self.get(name, default).split(b":"))
        return tuple(item for item in items if item)

    def base64(self, name: str, strict: bool = True) -> bytes:
        """The octets of a value in base64. If not `strict`, characters that are not of its
        alphabet are passed over. Raises `DkimSyntaxError` if the value is missing or cut."""
        value = without_blanks(self.required(name))
        try:
            if strict and not _BASE64.match(value):
                raise ValueError
            return binascii.a2b_base64(value)
        except ValueError:
            raise DkimSyntaxError(f"{name}= is not base64") from None


def first_value(text: bytes, name: bytes) -> bytes:
    """The first value of that name, in whatever is between semicolons; b"" without one."""
    for spec in text.split(b";"):
        found, _, value = spec.partition(b"=")
        if found.strip(WHITE_SPACE) == name:
            return value.strip(WHITE_SPACE)
    return b""


def with_empty_value(text: bytes, name: bytes) -> bytes:
    """`text` with the values of that name deleted, and the white space around them."""
    specs = text.split(b";")
    for index, spec in enumerate(specs):
        found, _, _ = spec.partition(b"=")
        if found.strip(WHITE_SPACE) == name:
            specs[index] = found + b"="
    return b";".join(specs)


def without_blanks(value: bytes) -> bytes:
    return _BLANKS.sub(b"", value)
