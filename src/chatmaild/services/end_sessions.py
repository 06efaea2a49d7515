"""``chatmaild end-sessions``: disconnects chat users, as Dovecot's service chatmaild-sessions.

Dovecot runs it as root. Callers can name chat addresses and nothing else.
"""

import argparse
import logging
import subprocess
import time
from collections.abc import Sequence

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import lastgood
from chatmaild.console import Console, counted
from chatmaild.errors import ChatmaildError, UsageError

log = logging.getLogger(__name__)

TIMEOUT = 10
"""Seconds that doveadm may take."""

AGAIN_AFTER = 0.5
"""Seconds after which a session that was only just beginning can be seen by doveadm, if the host is
not too busy."""

BEGINNING = 10
"""Runs of doveadm in the time of which a session begins, however busy the host is: a mail process
does less before it is seen than doveadm does in all.
"""

PATIENCE = 8.0
"""Seconds that mail processes may take to end."""

PAUSE = 0.05
"""Seconds between two looks whether they have ended."""

NOBODY = 68
"""EX_NOHOST of sysexits.h, with which doveadm says that nobody was connected."""

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
"""Leaves out what Dovecot tells its services: with it doveadm would take itself for one."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS", help="whom to disconnect")
    parser.add_argument("--above", type=int, metavar="N",
                        help="only of those who have more than N sessions")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def run(args: argparse.Namespace, console: Console) -> int:
    """End the sessions. Raises `UsageError` for an address that is not of a chat domain."""
    mailboxes = Mailboxes(lastgood.load(args.config, args.last_good).config)
    found = [mailboxes.find(address) for address in args.addresses]
    addresses = [mailbox.address for mailbox in found if mailbox]
    if len(addresses) < len(found):
        raise UsageError("ADDRESS: not in a chat domain; mail_domains in chatmaild.ini lists "
                         "those")
    if args.above is not None:
        addresses = [address for address in addresses if len(_processes(address)) > args.above]
        for address in addresses:
            log.warning("an account has more than %d sessions; all of them are ended", args.above)
    if addresses:
        _end(addresses)
    console.result({"ended": addresses})
    return 0


def _end(addresses: Sequence[str]) -> None:
    """End the sessions of `addresses` that are open, or beginning, now.

    Returns when their processes serve them no more: Dovecot 2.3 only sends these a signal, and
    until they get to it they may carry out what a client has sent. Raises `ChatmaildError`.
    """
    for address in addresses:
        _doveadm("auth", "cache", "flush", address)
    start = time.monotonic()
    for address in addresses:
        _doveadm("kick", address)
    time.sleep(max(AGAIN_AFTER, (time.monotonic() - start) / len(addresses) * BEGINNING))
    left = {address: found for address in addresses if (found := set(_processes(address)))}
    for address in left:
        _doveadm("kick", address)
    deadline = time.monotonic() + PATIENCE
    while left := {address: found for address, before in left.items()
                   if (found := before.intersection(_processes(address)))}:
        if time.monotonic() > deadline:
            raise ChatmaildError(f"sessions of {counted(len(left), 'account')} do not end; see "
                                 "doveadm who")
        time.sleep(PAUSE)


def _processes(address: str) -> list[str]:
    """Return the process id of each open session. Raises `ChatmaildError`.

    Dovecot 2.4 lists deliveries under way, too, which do not end by a kick, but soon by themselves.
    """
    heading, *rows = [line.split("\t") for line in
                      _doveadm("-f", "tab", "who", "-1", address).splitlines()] or [[]]
    return [row[heading.index("pid")] for row in rows
            if row[0] == address and row[1] != "lmtp"]


def _doveadm(*arguments: str) -> str:
    """Return the output of doveadm(1). Raises `ChatmaildError`."""
    try:
        done = subprocess.run(["doveadm", *arguments], env=_ENVIRONMENT, timeout=TIMEOUT,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ChatmaildError(f"doveadm {' '.join(arguments[:-1])}: {error}") from None
    if done.returncode not in (0, NOBODY):
        raise ChatmaildError(f"doveadm {' '.join(arguments[:-1])}: "
                             f"{done.stderr.strip() or done.returncode}")
    return done.stdout
