"""Content-Type and Content-Disposition, by a grammar narrower than that of RFC 2045.

No comments, no RFC 2231 forms (``name*=``, ``name*0=``), no quoted pairs, no parameter twice:
clients write none of them in the headers we parse, and two readers of the same header could
disagree about each.
"""

import re
from dataclasses import dataclass

from chatmaild.message.refusal import Refusal

MAX_LENGTH = 1000
"""Octets in one value."""

MAX_BLANKS = 70
"""Octets of white space in one value. More could spell a text between the tokens."""

_BLANKS = b" \t\r\n"
_WS = rb"(?:[ \t]|\r?\n[ \t])*"
_TOKEN = rb"[!#$%&'+.0-9A-Z^_`a-z{|}~-]+"
_PARAMETER = re.compile(
    rb";" + _WS + rb"(" + _TOKEN + rb")="
    # Unquoted "=", "/" and the like are wrong, but clients write such boundaries.
    + rb"(?:([!#$%&'()*+,./0-9:=?A-Z^_`a-z{|}~-]+)|" + rb'"([ !#-\[\]-~]*)")' + _WS
)
_TYPE = re.compile(_WS + rb"(" + _TOKEN + rb"(?:/" + _TOKEN + rb")?)" + _WS)
_END = re.compile(rb"(?:;" + _WS + rb")?\Z")
# What chat clients write but for the boundary, in one step.
_FREQUENT = re.compile(
    rb'multipart/encrypted; protocol="application/pgp-encrypted";(?: ?\r?\n)?[ \t]'
    rb'boundary="([0-9A-Za-z\'()+_,./:=?-]{1,70})"')


@dataclass(frozen=True)
class MediaType:
    """`name` is ``type/subtype``, or a disposition; it and the names of parameters are in lower
    case. `blanks` counts the octets of white space between the tokens."""

    name: str
    parameters: dict[str, bytes]
    blanks: int = 0


def parse(value: bytes, max_length: int = MAX_LENGTH, max_blanks: int = MAX_BLANKS) -> MediaType:
    """Parse the value of a Content-Type or Content-Disposition header, of at most `max_length`
    octets, `max_blanks` of them white space. Raises `Refusal`."""
    if len(value) > max_length:
        raise Refusal("content-type-too-long")
    if frequent := _FREQUENT.fullmatch(value):
        return MediaType("multipart/encrypted", {"protocol": b"application/pgp-encrypted",
                                                 "boundary": frequent[1]}, _count_blanks(value))
    match = _TYPE.match(value)
    if not match:
        raise Refusal("content-type-syntax")
    name = match[1].decode("ascii").lower()
    parameters: dict[str, bytes] = {}
    at = match.end()
    while parameter := _PARAMETER.match(value, at):
        key = parameter[1].decode("ascii").lower()
        if key in parameters:
            raise Refusal("content-type-parameter-twice")
        parameters[key] = parameter[3] if parameter[3] is not None else parameter[2]
        at = parameter.end()
    if not _END.match(value, at):
        raise Refusal("content-type-syntax")
    blanks = _count_blanks(value) - sum(map(_count_blanks, parameters.values()))
    if blanks > max_blanks:
        raise Refusal("content-type-blanks")
    return MediaType(name, parameters, blanks)


def _count_blanks(octets: bytes) -> int:
    return len(octets) - len(octets.translate(None, _BLANKS))


_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=?-]{1,70}\Z")


def boundary(media_type: MediaType) -> bytes:
    """The boundary parameter (RFC 2046 section 5.1.1, but without blanks). Raises `Refusal`.

    It is not tested for text, since random letters make words too; its length is bounded.
    """
    value = media_type.parameters.get("boundary", b"")
    if not _BOUNDARY.match(value):
        raise Refusal("boundary")
    return value


CHARSETS = frozenset((b"utf-8", b"us-ascii", b"iso-8859-1", b"iso-8859-15", b"windows-1252"))
"""Known values of a charset parameter, in lower case."""


def check_parameters(media_type: MediaType, allowed: tuple[str, ...], reason: str) -> None:
    """Raise `Refusal(reason)` if there is a parameter not in `allowed`, or an unknown charset."""
    for key, value in media_type.parameters.items():
        if key not in allowed or key == "charset" and value.lower() not in CHARSETS:
            raise Refusal(reason)
