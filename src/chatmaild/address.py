"""Mail addresses as they stand in an envelope, in a header or in an account's name.

Sources: RFC 5321 section 4.1.2 (Mailbox) with the limits of section 4.5.3.1, and RFC 5322
section 3.4 for header fields, both narrowed to what has one meaning for every reader: no quoted
local parts, no comments, no source routes, no groups where a single mailbox is asked for.
A domain may be an address literal, ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``, as hosts without a
name of their own have it (RFC 5321 section 4.1.3).
"""

import ipaddress
import re
import unicodedata
from binascii import Error as Base64Error, a2b_base64, a2b_qp
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

MAX_LOCAL_PART = 64
"""Octets in a local part, RFC 5321 section 4.5.3.1.1."""

MAX_DOMAIN = 253
"""Octets in a domain name without the final dot, RFC 1035 section 2.3.4."""

MAX_LITERAL = 53
"""Characters in an address literal: brackets, ``IPv6:`` and the longest address."""

MAX_MAILBOX = 2000
"""Octets in a header value that holds one mailbox with its display name."""

NetworkAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_DOMAIN = re.compile(rb"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\Z", re.I)
_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(_ATOM + rb"(?:\." + _ATOM + rb")*\Z")
_QUOTED = rb'"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*+"'
_PHRASE = rb'(?:[^\x00-\x1f\x7f()<>@,;:\\"\[\]]|' + _QUOTED + rb")*+"
# Possessive (*+), so that no blank is tried twice: a header value of blanks takes linear time.
_MAILBOX = re.compile(rb"\s*+(?:(" + _PHRASE + rb")<\s*+([^\s<>]++)\s*+>|([^\s<>]++))\s*+\Z")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_ENCODED_WORD = re.compile(rb"=\?([^?\s]+)\?([bq])\?([^?]*)\?=", re.I)
_BETWEEN_WORDS = re.compile(rb"(?<=\?=)\s+(?==\?)")   # is not shown, RFC 2047 section 6.2
_BEHIND_AT = re.compile(rb"@([A-Za-z0-9._-]+)")
_BLANKS = bytes(range(33)) + b"\x7f"
_IDEOGRAPHIC_STOP = "\u3002"     # a dot in domains, RFC 3490 section 3.1; NFKC knows the others
_MARKS = _BLANKS + b"\"\\[]<>,;:"
"""What some reader leaves out of an address; where it ends one for others is looked at as well."""
_LONG = re.compile("[\u0f77\u0f79\u2034\u2037\u2057\u222d\u2230\u2a0c\u3300-\u3357\u337f"
                   "\u33ae\u33af\ufb50-\ufdff\U0001d15e-\U0001d164\U0001d1bb-\U0001d1c0"
                   "\U0001f240-\U0001f248]+")
"""Ligatures that NFKC makes up to 18 characters of, which would take long, and no ASCII letter."""
_CODECS = {name.replace("_", "").encode("ascii"): name for name in (
    "utf_16", "utf_16le", "utf_16be", "utf_32", "utf_32le", "utf_32be", "iso2022_jp",
    "iso2022_kr", "hz", "gb2312", "gbk", "gb18030", "big5", "euc_jp", "euc_kr", "shift_jis",
    "cp037", "cp500")} | {b"hzgb2312": "hz"}
"""Charsets of mail in which ASCII is not ASCII, or that have wide letters, and their codecs."""
_COMMENT_PARTS = re.compile(rb'\\.|"(?:[^"\\]|\\.)*"|[^"\\()]+|.', re.DOTALL)
_BETWEEN_WORDS_AND_ADDRESSES = re.compile(rb"[\s<>\"'(),:;]")


@dataclass(frozen=True)
class HeaderMailbox:
    """One mailbox of a header field: the display name as it was written, and the address."""

    display_name: bytes
    address: str


def is_domain(name: bytes) -> bool:
    """Whether `name` is a domain name in letters, digits, hyphens (and underscores)."""
    return len(name) <= MAX_DOMAIN and _DOMAIN.match(name) is not None


def literal(domain: str) -> NetworkAddress | None:
    """The network address that an address literal names; None for what is none."""
    if not domain.startswith("[") or not domain.endswith("]") or len(domain) > MAX_LITERAL:
        return None
    text = domain[1:-1]
    try:
        if text[:5].lower() != "ipv6:":
            return ipaddress.IPv4Address(text)
        found = ipaddress.IPv6Address(text[5:])
    except ValueError:
        return None
    return None if "%" in text else found.ipv4_mapped or found


def is_address(text: bytes) -> bool:
    """Whether `text` is local-part@domain, unquoted and in ASCII."""
    local, at, domain = text.rpartition(b"@")
    return (bool(at) and len(local) <= MAX_LOCAL_PART and _LOCAL.match(local) is not None
            and (is_domain(domain) or literal(domain.decode("latin-1")) is not None))


def domain_of(address: str) -> str:
    """The domain in lower case; empty for an address without one."""
    return address.rpartition("@")[2].lower() if "@" in address else ""


def without_detail(address: str, delimiters: str) -> str:
    """The address of the mailbox: ``name+detail@domain`` is ``name@domain``. The first of
    `delimiters` counts; where it comes first, it is part of the name."""
    local, at, domain = address.rpartition("@")
    found = [place for each in delimiters if (place := local.find(each, 1)) > 0]
    return local[:min(found)] + at + domain if found else address


def strip_path(path: str) -> str:
    """What is between the angle brackets of a path, as Postfix reads it: without a final dot."""
    return path.strip("<> \t").rstrip(".")


def parse_path(path: str) -> str | None:
    """The address in a reverse-path or forward-path as SMTP has it, with or without its angle
    brackets; "" for the null sender ``<>``; None for what is no address of ours to read."""
    text = path.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    if not text:
        return ""
    raw = text.encode("utf-8", "surrogateescape")
    return text if is_address(raw) else None


def parse_mailbox(value: bytes) -> HeaderMailbox | None:
    """The mailbox in the value of a From or Sender header; None unless it is exactly one."""
    if len(value) > MAX_MAILBOX:
        return None
    match = _MAILBOX.match(_FOLD.sub(b"", value))
    if not match:
        return None
    raw = match[2] if match[2] is not None else match[3]
    if not is_address(raw):
        return None
    return HeaderMailbox((match[1] or b"").strip(), raw.decode("ascii"))


def domains_shown(value: bytes) -> set[str]:
    """The domains of everything that any reader might take for an address in a header value:
    folded, spaced, quoted, encoded, in wide letters, or with comments in between (RFC 5322
    section 4.4); in lower case."""
    forms = {value, _without_comments(value)}
    texts = {text for plain in map(_in_ascii, forms)
             for text in (plain, plain.translate(None, _BLANKS), plain.translate(None, _MARKS))}
    return {domain.decode("ascii").lower().rstrip(".")
            for text in texts for domain in _BEHIND_AT.findall(text)}


def _in_ascii(value: bytes) -> bytes:
    """What a reader shows of it, as far as that is ASCII or looks like it."""
    return _as_shown(_ENCODED_WORD.sub(_decode_word, value)).encode("ascii", "ignore")


def _as_shown(text: bytes) -> str:
    """UTF-8 as domains are compared, RFC 3490: without case, wide letters and other dots."""
    plain = _LONG.sub("", text.decode("utf-8", "replace"))
    return unicodedata.normalize("NFKC", plain).casefold().replace(_IDEOGRAPHIC_STOP, ".")


def _without_comments(value: bytes) -> bytes:
    depth, kept = 0, []
    for part in _COMMENT_PARTS.findall(value):
        if part == b"(":
            depth += 1
        elif part == b")":
            depth = max(0, depth - 1)
        elif not depth:
            kept.append(part)
    return b"".join(kept)


def names_another(mailbox: HeaderMailbox) -> bool:
    """Whether the display name shows an address that is not the mailbox's own."""
    shown = _ENCODED_WORD.sub(_decode_word, _BETWEEN_WORDS.sub(b"", mailbox.display_name))
    own = mailbox.address.lower().encode("ascii")
    return any(found != own for found in _addresses_shown(_as_shown(shown).encode("utf-8")))


def _addresses_shown(text: bytes) -> Iterator[bytes]:
    """What looks like an address: anything, @, and a name with a dot and two letters behind it."""
    for word in _BETWEEN_WORDS_AND_ADDRESSES.split(text):
        for local, behind in pairwise(word.split(b"@")):
            labels = behind.split(b".")
            while len(labels) > 1 and len(labels[-1]) < 2:
                labels.pop()
            if local and len(labels) > 1 and labels != [b"", labels[-1]]:
                yield local + b"@" + b".".join(labels)


def _decode_word(match: re.Match[bytes]) -> bytes:
    """The text of an encoded word, RFC 2047: in UTF-8 if it is in a charset of `_CODECS`, else as
    it is."""
    charset, encoding, word = match.groups()
    if encoding in b"qQ":
        text = a2b_qp(word.replace(b"_", b" "))
    else:
        try:
            text = a2b_base64(word + b"==")
        except Base64Error:
            return match[0]
    name = charset.lower().partition(b"*")[0].translate(None, b"-_")    # *: RFC 2231 section 5
    if codec := "utf_7" if b"utf7" in name else _CODECS.get(name):
        return text.decode(codec, "replace").encode("utf-8", "replace")
    return text
