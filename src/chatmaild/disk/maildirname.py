"""The names of messages in a Maildir: when each was saved and how large it is.

Dovecot writes ``<epoch>.M<usec>P<pid>.<host>,S=<octets>,W=<octets>[:2,FLAGS]``. The number in
front is the time of saving (delivery, APPEND, COPY, MOVE), S the size before compression. Flag
changes rename the file but leave both alone, and nobody can choose either over IMAP.

Source: https://cr.yp.to/proto/maildir.html for the time, Maildir++ for S.
"""

import re
from collections.abc import Sequence

_TIME = re.compile(r"([0-9]{10})\.|([0-9]{1,9})\.M[0-9]+P[0-9]+[.,:]")
_SIZE = re.compile(r"[^,]*,S=([0-9]{1,18})(?:[,:]|\Z)")
_DATED_AND_SIZED = re.compile(r"\n[0-9]{10}\.[^\n,]*+,S=([0-9]{1,18})(?=[,:\n])")


def saved(name: str) -> int | None:
    """Seconds since the epoch at which the message was saved; None for a foreign name.

    Ten digits and a dot are enough: so begin the names of every server since 2001. Fewer digits
    count only before Dovecot's ``M<usec>P<pid>``: a file called 12.eml is not from 1970.
    """
    match = _TIME.match(name)
    return int(match[1] or match[2]) if match else None


def size(name: str) -> int | None:
    """Octets of the message before compression; None if the name does not say."""
    match = _SIZE.match(name)
    return int(match[1]) if match else None


def sizes(names: Sequence[str]) -> list[int] | None:
    """The `size` of each of many names, fast; None unless each has ten digits, a dot and a size.

    Such names have a `saved` time too, and sort by it.
    """
    text = "\n".join(("", *names, ""))
    found = _DATED_AND_SIZED.findall(text)
    if len(found) != len(names) or text.count("\n") != len(names) + 1:
        return None
    return list(map(int, found))


def total_size(names: Sequence[str]) -> int:
    """Octets of many messages together, as far as the names say."""
    return sum(sizes(names) or (size(name) or 0 for name in names))
