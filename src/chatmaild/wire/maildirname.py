"""The names of messages in a Maildir: when each was saved and how large it is.

Dovecot writes ``<epoch>.M<usec>P<pid>.<host>,S=<octets>,W=<octets>[:2,FLAGS]``. The number in
front is the time of saving (delivery, APPEND, COPY, MOVE), S the size before compression. Flag
changes rename the file but leave both alone, and nobody can choose either over IMAP.

Source: https://cr.yp.to/proto/maildir.html for the time, Maildir++ for S.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_TIME = re.compile(r"([0-9]{10})\.|([0-9]{1,9})\.M[0-9]+P[0-9]+[.,:]")
_SIZE = re.compile(r"[^,]*,S=([0-9]{1,18})(?![0-9])")

_REGULAR = re.compile(r"(?:[0-9]{10}\.[^\n,]*+,S=[0-9]{1,18}(?![0-9])[^\n]*+\n)*+")
_LARGE = re.compile(r",S=([0-9]{6,18})(?![0-9])")

SMALL = 99_999
"""Octets; `Listing.large` holds every message that is larger than this."""


def saved(name: str) -> int | None:
    """Seconds since the epoch at which the message was saved; None for a foreign name.

    Ten digits and a dot suffice, as every server's names begin so since 2001; fewer digits count
    only in front of Dovecot's ``M<usec>P<pid>``: a file called 12.eml is not from 1970.
    """
    match = _TIME.match(name)
    return int(match[1] or match[2]) if match else None


def size(name: str) -> int | None:
    """Octets of the message before compression; None if the name does not say."""
    match = _SIZE.match(name)
    return int(match[1]) if match else None


class Listing(NamedTuple):
    """What many names say at once."""

    large: dict[str, int]
    """Octets of those above `SMALL`, by name."""
    at_most: int
    """Octets that all of them have together, rounded up generously."""


def listing(names: Sequence[str]) -> Listing | None:
    """Read many names fast; None unless each has ten digits, a dot and a size.

    Such names sort by time, and for each of them `saved` and `size` have a value.
    """
    text = "\n".join(names) + "\n"
    if not _REGULAR.fullmatch(text) or text.count("\n") != len(names):
        return None
    large = {}
    for match in _LARGE.finditer(text):
        name = text[text.rfind("\n", 0, match.start()) + 1:text.find("\n", match.end())]
        octets = size(name) or 0  # a leading zero, or a second ,S=, may have matched
        if octets > SMALL:
            large[name] = octets
    return Listing(large, sum(large.values()) + SMALL * len(names))
