"""Autocrypt and Autocrypt-Gossip headers: that the key in them is a key.

Sources: Autocrypt level 1 (the header), RFC 9580 sections 4.2 and 10.1 (transferable public
keys).
"""

import re
from binascii import Error as Base64Error, a2b_base64

from chatmaild.message import plaintext
from chatmaild.message.refusal import Refusal

MAX_KEY = 48 * 1024
"""Octets in a key."""

_SMALLEST_KEY = 160
"""Octets in a key with a subkey: at least 38 for each of them and 74 for each signature."""

_PUBLIC_KEY, _SIGNATURE, _USER_ID, _SUBKEY = 6, 2, 13, 14
_KEYDATA = re.compile(rb"(?:^|;)\s*keydata\s*=\s*([A-Za-z0-9+/=\s]*)\Z")
_WORDS = re.compile(rb"[ -~]{8,}")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")


def free_text(value: bytes) -> int:
    """How many octets of the header value are text of the sender's choosing: everything but the
    key's numbers. Octets behind the key that are no packet count. Raises `Refusal` if the key is
    none.
    """
    match = _KEYDATA.search(value)
    if not match:
        raise Refusal("autocrypt-key")
    encoded = b"".join(match[1].split())
    if len(encoded) > MAX_KEY * 4 // 3 + 4 or not _BASE64.match(encoded):
        raise Refusal("autocrypt-key")
    try:
        key = a2b_base64(encoded)
    except Base64Error:
        raise Refusal("autocrypt-key") from None
    return match.start() + _text_in_key(key)


def _text_in_key(key: bytes) -> int:
    at, text = 0, 0
    numbers = bytearray(key)    # without user ids, which are counted anyway
    while at < len(key):
        try:
            tag, begin, end = _packet(key, at)
        except Refusal:
            if not at:
                raise
            text += _opaque(key[at:])       # no packet, but behind a key
            break
        if (tag == _PUBLIC_KEY) != (at == 0):
            raise Refusal("autocrypt-key")
        body = key[begin:end]
        if tag == _USER_ID:
            text += len(body)
            numbers[begin:end] = bytes(len(body))
        elif tag not in (_PUBLIC_KEY, _SIGNATURE, _SUBKEY) or body[:1] not in _VERSIONS:
            raise Refusal("autocrypt-key")
        else:
            _opaque(body)
        at = end
    if not at:
        raise Refusal("autocrypt-key")
    return len(key) if at < _SMALLEST_KEY else text + _text_in(bytes(numbers))


def _text_in(octets: bytes) -> int:
    """How many octets of a key are text: notations of a signature, what is spelled in its base64
    characters, or what is cut up so that no packet has enough of it to be refused. Noise counts
    two octets in a KB."""
    text = 0
    for at in range(0, len(octets), plaintext.WINDOW):
        window = octets[at:at + plaintext.WINDOW]
        text += len(window if plaintext.is_text(window) else b"".join(_WORDS.findall(window)))
    return text


def _opaque(octets: bytes) -> int:
    """How many octets these are. Raises `Refusal` if they are text."""
    if plaintext.has_text_run(octets) or plaintext.resembles_text(octets):
        raise Refusal("autocrypt-key-is-text")
    return len(octets)


_VERSIONS = (b"\3", b"\4", b"\5", b"\6")


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
