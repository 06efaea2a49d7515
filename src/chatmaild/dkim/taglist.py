"""Tag lists, ``name=value; name=value``: the form of signatures and of key records.

Source: RFC 6376 section 3.2. This reader accepts whatever dkimpy and OpenDKIM both accept, since
domains depend on it: a name need only begin with a letter, white space is that of C's isspace(3),
and other characters in the base64 of a key are ignored (RFC 2045 section 6.8), such as the quotes
that people paste into records.
"""

import binascii
import re

from chatmaild.errors import ChatmaildError

WHITE_SPACE = b" \t\r\n\x0b\x0c"

_NAME = re.compile(rb"[A-Za-z][^ \t\r\n\x0b\x0c]*\Z")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+=*\Z")


class DkimSyntaxError(ChatmaildError, ValueError):
    """A signature or a key record is not usable; the text says why, and names no address."""


class TagList:
    """The tags of one list, without the white space around names and values."""

    def __init__(self, text: bytes):
        """Raises `DkimSyntaxError` if this is not a tag list, or if it has a name twice."""
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
                raise DkimSyntaxError("a tag is given twice")
            self._values[name] = value.strip(WHITE_SPACE)

    def __contains__(self, name: str) -> bool:
        return name.encode() in self._values

    def get(self, name: str, default: bytes = b"") -> bytes:
        """The value of a tag; `default` if it is missing."""
        return self._values.get(name.encode(), default)

    def required(self, name: str) -> bytes:
        """The value of a tag. Raises `DkimSyntaxError` if it is missing or empty."""
        value = self.get(name)
        if not value:
            raise DkimSyntaxError(f"{name}= is missing or empty")
        return value

    def items(self, name: str, default: bytes = b"") -> tuple[bytes, ...]:
        """The items of a value that is a list with colons, without empty ones."""
        items = (item.strip(WHITE_SPACE) for item in self.get(name, default).split(b":"))
        return tuple(item for item in items if item)

    def base64(self, name: str, strict: bool = True) -> bytes:
        """The decoded octets of a value in base64. Unless `strict`, characters outside its
        alphabet are ignored. Raises `DkimSyntaxError` if the value is missing or truncated."""
        value = without_blanks(self.required(name))
        try:
            if strict and not _BASE64.match(value):
                raise ValueError
            return binascii.a2b_base64(value)
        except ValueError:
            raise DkimSyntaxError(f"{name}= is not base64") from None


def first_value(text: bytes, name: bytes) -> bytes:
    """The first value of the tag `name`, even if `text` is not a tag list; b"" without one."""
    for spec in text.split(b";"):
        found, _, value = spec.partition(b"=")
        if found.strip(WHITE_SPACE) == name:
            return value.strip(WHITE_SPACE)
    return b""


def with_empty_value(text: bytes, name: bytes) -> bytes:
    """`text` without the values of the tags `name` and the white space around them."""
    specs = text.split(b";")
    for index, spec in enumerate(specs):
        found, _, _ = spec.partition(b"=")
        if found.strip(WHITE_SPACE) == name:
            specs[index] = found + b"="
    return b";".join(specs)


def without_blanks(value: bytes) -> bytes:
    """`value` without any `WHITE_SPACE`."""
    return value.translate(None, WHITE_SPACE)
