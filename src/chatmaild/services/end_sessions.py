"""``chatmaild end-sessions``: disconnects chat users, as Dovecot's service chatmaild-sessions.

Dovecot runs it as root. Callers can name chat addresses and nothing else.
"""

import argparse
import logging
import subprocess
import time

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import lastgood
from chatmaild.console import Console
from chatmaild.errors import ChatmaildError, UsageError

log = logging.getLogger(__name__)

TIMEOUT = 10
"""Seconds that doveadm may take."""

AGAIN_AFTER = 0.5
"""Seconds after which a session that was only just beginning can be seen by doveadm."""

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
        addresses = [address for address in addresses if _count(address) > args.above]
        for address in addresses:
            log.warning("an account has more than %d sessions; all of them are ended", args.above)
    for address in addresses:
        _doveadm("auth", "cache", "flush", address)
        _doveadm("kick", address)
    time.sleep(AGAIN_AFTER)
    for address in addresses:
        _doveadm("kick", address)
    console.result({"ended": addresses})
    return 0


def _count(address: str) -> int:
    """Count the open sessions, by the column "#" (2.3) or "connections" (2.4) of doveadm.

    Raises `ChatmaildError`.
    """
    heading, *rows = [line.split("\t") for line in
                      _doveadm("-f", "tab", "who", address).splitlines()] or [[]]
    return sum(int(number) for row in rows if row[0] == address
               for name, number in zip(heading, row) if name in ("#", "connections"))


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
