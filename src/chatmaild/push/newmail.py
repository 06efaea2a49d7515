"""Finds recent messages in a mailbox, and tells whether they are from its owner.

Calls block. Looks at INBOX only, and reads a message only up to its From. In doubt a message counts
as somebody else's.
"""

import os
import re
import zlib

from chatmaild import address

MAX_HEADER = 65_536
"""Octets of a message in which its From is looked for."""

_SUBDIRECTORIES = ("new", "cur")
"""In this order: messages move from new/ to cur/, so none is missed."""

_NAME = re.compile(r"([0-9]{10})\.M([0-9]{1,9})P[^:,]+")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_FROM = re.compile(rb"^from[ \t]*:((?:[^\n]|\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


def saved_since(home: str, since: float) -> dict[str, str]:
    """Return the messages that Dovecot began to save after `since` (seconds since the epoch).

    They are paths by the constant part of the file name. Messages that are gone are left out.
    """
    second, found = f"{int(since):010}", {}
    for subdirectory in _SUBDIRECTORIES:
        try:
            names = os.listdir(f"{home}/{subdirectory}")
        except OSError:
            continue    # nothing has been delivered, or the account is gone
        for name in names:
            if name >= second and (match := _NAME.match(name)) and (
                    int(match[1]) + int(match[2]) / 1e6 >= since):
                found[match[0]] = f"{home}/{subdirectory}/{name}"
    return found


def is_from(owner: str, path: str) -> bool:
    """Whether the message in the file `path` is from the address `owner`."""
    try:
        # For a named pipe nobody waits
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return sender(_plain(file.read(MAX_HEADER))) == owner
    except (OSError, zlib.error):
        return False


def _plain(head: bytes) -> bytes:
    """Return a message's beginning, which Dovecot may have compressed (gz, by chatmaild.lua)."""
    if head[:2] != b"\x1f\x8b":
        return head
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, MAX_HEADER)


def sender(head: bytes) -> str | None:
    """Return the address, in lower case, in the one From header of a message's beginning.

    None if there is no such header, or more than one.
    """
    end = _HEADER_END.search(head)
    found = _FROM.findall(head[:end.start()] if end else head)
    mailbox = address.parse_mailbox(found[0].strip()) if len(found) == 1 else None
    return mailbox.address.lower() if mailbox else None
