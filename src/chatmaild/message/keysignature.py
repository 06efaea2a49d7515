"""Signatures in a key: which parts of them may be text.

Source: RFC 9580 section 5.2 (signature packets and their subpackets). A subpacket of a known kind
and size is a number. Every other one (notations, user ids, URIs, new kinds) counts as text, and so
does a signature that breaks the grammar.
"""

from collections.abc import Iterator

_MAX_NUMBERS = 16
"""Octets in a list of preferences or of flags."""

_MAX_SUBPACKETS = 64
"""In each of the two areas of a signature; further ones count as text."""

_SIZES = {
    2: (4,), 3: (4,), 9: (4,),      # when it was made, when it or the key expires
    16: (8,), 33: (21, 33),         # who made it: key id, fingerprint with its version
    35: (21, 33),                   # for whom
}
_SMALL_NUMBERS = frozenset((4, 7, 11, 21, 22, 23, 25, 27, 30, 34, 39))
"""Preferred algorithms, features, key flags and the like: lists of numbers below 32, or flags."""

_FLAGS = frozenset((23, 27, 30))
_EMBEDDED_SIGNATURE = 32

_SMALLEST = 60
"""Octets in a signature; the shortest of RFC 9580 (Ed25519) has 70, even without subpackets."""

Range = tuple[int, int]
"""Begin and end of some octets."""


def text_in(body: bytes, embedded: bool = False) -> list[Range]:
    """Where the body of a signature packet has text. `embedded`: it is inside another signature."""
    version = body[0] if body else 0
    if version == 3:
        return [] if len(body) >= _SMALLEST else [(0, len(body))]
    if version not in (4, 5, 6) or len(body) < _SMALLEST:
        return [(0, len(body))]
    width = 4 if version == 6 else 2
    at, found = 4, list[Range]()
    for _ in ("hashed", "unhashed"):
        length = int.from_bytes(body[at:at + width], "big")
        begin, end = at + width, at + width + length
        if end > len(body):
            return [(0, len(body))]
        found += _text_in_area(body, begin, end, embedded)
        at = end
    return found


def _text_in_area(body: bytes, at: int, end: int, embedded: bool) -> Iterator[Range]:
    seen: set[int] = set()
    subpackets = 0
    while at < end:
        begin, length = _subpacket(body, at)
        behind = begin + length
        subpackets += 1
        if not length or behind > end or subpackets > _MAX_SUBPACKETS:
            yield at, end
            return
        kind = body[begin] & 0x7F
        content = body[begin + 1:behind]
        if kind == _EMBEDDED_SIGNATURE and not embedded:
            yield from ((begin + 1 + first, begin + 1 + last)
                        for first, last in text_in(content, embedded=True))
        elif kind in seen or not _is_number(kind, content):
            yield at, behind
        seen.add(kind)
        at = behind


def _is_number(kind: int, content: bytes) -> bool:
    if kind in _SIZES:
        return len(content) in _SIZES[kind]
    if kind not in _SMALL_NUMBERS or len(content) > _MAX_NUMBERS:
        return False
    return len(content) <= 4 if kind in _FLAGS else all(octet < 32 for octet in content)


def _subpacket(body: bytes, at: int) -> tuple[int, int]:
    """Where the content of the subpacket at `at` begins, and its length."""
    first = body[at]
    if first < 192:
        return at + 1, first
    if first < 255:
        return at + 2, (first - 192 << 8) + int.from_bytes(body[at + 1:at + 2], "big") + 192
    return at + 5, int.from_bytes(body[at + 1:at + 5], "big")
