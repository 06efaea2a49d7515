"""Autocrypt and Autocrypt-Gossip headers: is there a key in them, and how much text?

    header value -> attributes -> key -> packets -> octets of text

Sources: Autocrypt level 1 (the header), RFC 9580 sections 4.2 and 10.1 (transferable public
keys). A key is mostly numbers. Whatever in it is not a number of known size (user ids, notations)
counts as text of the header, which the policy limits. Some text is needed: core 2.45 and later
name up to five addresses of the owner in each key.
"""

import re
from binascii import Error as Base64Error, a2b_base64
from dataclasses import dataclass

from chatmaild.message import keysignature, plaintext
from chatmaild.message.refusal import Refusal

MAX_KEY = 48 * 1024
"""Octets in a key."""

MAX_PACKETS = 200
"""Packets in a key."""

MAX_ATTRIBUTES = 50
"""Attributes in a header."""

_SMALLEST_KEY = 160
"""Octets; anything shorter is no key. A key with a subkey has at least 38 in each of these two
and 74 in each signature."""

_SMALLEST_KEY_PACKET = 38
"""Octets of an Ed25519 or X25519 key, the shortest kinds. Anything smaller counts as text."""

_PUBLIC_KEY, _SIGNATURE, _SUBKEY = 6, 2, 14
_VERSIONS = (b"\3", b"\4", b"\5", b"\6")
_WORDS = re.compile(rb"[ -~]{8,}")
_BLANKS = b" \t\r\n"

# Replaces text that was counted already. It has each octet once, and too few printable ones in a
# row to make a word.
_COUNTED = bytes(at * 197 + 13 & 255 for at in range(256))


@dataclass(frozen=True)
class Header:
    """Whose key it is, and how many octets of the header value may be text."""

    address: bytes
    text: int


def read(value: bytes, limit: int) -> Header | None:
    """Read the value of an Autocrypt or Autocrypt-Gossip header.

    Returns None if recipients must ignore it: without an address or a key, with an attribute
    twice, or with an unknown one whose name does not begin with ``_``. Stops counting once the
    text exceeds `limit` octets. Raises `Refusal` if the key data is not a key.
    """
    attributes = _attributes(value)
    if attributes is None or not {"addr", "keydata"} <= attributes.keys():
        return None
    keydata = attributes["keydata"]
    encoded = keydata.translate(None, _BLANKS)
    if not encoded:
        return None
    if len(encoded) > MAX_KEY * 4 // 3 + 4:
        raise Refusal("autocrypt-key")
    # Programs fold lines at 60 characters or more; a fold takes up to four octets.
    blanks = max(0, len(keydata) - len(encoded) - len(encoded) // 12 - 8)
    text = len(value) - len(keydata) + blanks
    try:
        key = a2b_base64(encoded, strict_mode=True)
    except Base64Error:
        raise Refusal("autocrypt-key") from None
    return Header(attributes["addr"].strip().lower(), text + _text_in_key(key, limit - text))


def _attributes(value: bytes) -> dict[str, bytes] | None:
    found: dict[str, bytes] = {}
    for attribute in value.split(b";", MAX_ATTRIBUTES):
        name, equals, content = attribute.partition(b"=")
        key = name.strip().decode("latin-1")
        if not key and not equals:
            continue
        known = key in ("addr", "prefer-encrypt", "keydata")
        if not equals or key in found or not known and not key.startswith("_"):
            return None
        found[key] = content
    return found


def _text_in_key(key: bytes, limit: int) -> int:
    """How many octets of a key are text: all of them if it is too short for a key."""
    at, text, packets = 0, 0, 0
    numbers = bytearray(key)
    while at < len(key) and text <= limit:
        packets += 1
        try:
            tag, begin, end = _packet(key, at)
        except Refusal:
            if not at:
                raise
            text += _opaque(key[at:])       # cut short: it counts in full
            break
        if (tag == _PUBLIC_KEY) != (at == 0) or packets > MAX_PACKETS:
            raise Refusal("autocrypt-key")
        for first, behind in _text_in_packet(tag, key[begin:end]):
            text += behind - first
            _blot_out(numbers, begin + first, begin + behind)
        at = end
    if text > limit:
        return text
    return len(key) if at < _SMALLEST_KEY else text + _text_in(bytes(numbers))


def _text_in_packet(tag: int, body: bytes) -> list[tuple[int, int]]:
    """Where the body has text (begin and end), as far as its structure tells."""
    if tag in (_PUBLIC_KEY, _SUBKEY):
        if body[:1] not in _VERSIONS:
            raise Refusal("autocrypt-key")
        _opaque(body)
        return [] if len(body) >= _SMALLEST_KEY_PACKET else [(0, len(body))]
    if tag == _SIGNATURE:
        return keysignature.text_in(body)
    return [(0, len(body))]


def _blot_out(numbers: bytearray, begin: int, end: int) -> None:
    times = (end - begin) // len(_COUNTED) + 1
    numbers[begin:end] = (_COUNTED * times)[:end - begin]


def _text_in(octets: bytes) -> int:
    """How many octets of numbers are text after all: spelled in their base64 characters, or spread
    over many packets. Random octets count as text at a rate of two in a KB."""
    text = 0
    for at in range(0, len(octets), plaintext.WINDOW):
        window = octets[at:at + plaintext.WINDOW]
        text += len(window if plaintext.is_text(window) else b"".join(_WORDS.findall(window)))
    return text


def _opaque(octets: bytes) -> int:
    """The number of these octets, which should be random. Raises `Refusal` if they are text."""
    if plaintext.has_text_run(octets) or plaintext.resembles_text(octets):
        raise Refusal("autocrypt-key-is-text")
    return len(octets)


def _packet(key: bytes, at: int) -> tuple[int, int, int]:
    """Tag, begin and end of the body of the packet at `at`."""
    head = key[at:at + 6].ljust(6, b"\0")
    first = head[0]
    if first & 0xC0 == 0xC0:
        tag = first & 63
        if head[1] < 192:
            octets, length = 2, head[1]
        elif head[1] < 224:
            octets, length = 3, (head[1] - 192 << 8) + head[2] + 192
        elif head[1] == 255:
            octets, length = 6, int.from_bytes(head[2:6], "big")
        else:
            raise Refusal("autocrypt-key")
    elif first & 0x80 and first & 3 != 3:
        tag = first >> 2 & 15
        octets = 1 + (1 << (first & 3))
        length = int.from_bytes(head[1:octets], "big")
    else:
        raise Refusal("autocrypt-key")
    begin = at + octets
    if not length or begin + length > len(key):
        raise Refusal("autocrypt-key")
    return tag, begin, begin + length
