"""Ends the IMAP sessions of accounts that are gone or blocked, or that have too many.

Dovecot runs ``chatmaild end-sessions`` as root for those who may connect to `SOCKET`, which is
mail_user alone (service chatmaild-sessions in 05-chatmaild.conf). So neither the daily run nor the
commands for accounts need root for this.
"""

import os
import socket
from collections.abc import Sequence

from chatmaild.disk.directories import is_there
from chatmaild.errors import StoreError

SOCKET = "/run/dovecot/chatmaild-sessions"

MAX_ADDRESSES = 32
"""Addresses in one request; Dovecot's script service reads at most 16 KiB."""

PATIENCE = 20.0
"""Seconds to wait for Dovecot, for each request."""


def end_above(limit: int, address: str, path: str = SOCKET) -> None:
    """End all sessions of `address` if it has more than `limit`. Raises `StoreError` as `end` does.
    """
    _ask([f"--above={limit}", address], path)


def end(addresses: Sequence[str], path: str = SOCKET) -> None:
    """End all sessions of `addresses`; call this after their accounts are gone or blocked.

    Returns when the sessions have ended. Raises `StoreError`, with what the admin can do, if
    Dovecot cannot be reached or fails. Does nothing if Dovecot does not run.
    """
    for start in range(0, len(addresses), MAX_ADDRESSES):
        _ask(addresses[start:start + MAX_ADDRESSES], path)


def _ask(arguments: Sequence[str], path: str) -> None:
    """Speak the protocol of Dovecot's script service (src/util/script.c)."""
    lines = "".join(f"{argument}\n" for argument in arguments)
    try:
        if not is_there(os.path.join(os.path.dirname(path), "master.pid")):
            return      # Dovecot does not run, so nobody is connected
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(path)
            connection.sendall(f"VERSION\tscript\t4\t0\n-\n{lines}\n".encode("ascii"))
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(4096):
                answer = (answer + chunk)[-2:]
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}; clients stay connected until they "
                         "hang up, or: doveadm kick ADDRESS") from None
    if answer != b"+\n":
        raise StoreError(f"{path}: sessions could not be ended, see the log of Dovecot; or: "
                         "doveadm kick ADDRESS")
