"""What interrupted moves left aside on this host: ``chatmaild directory reconcile`` mends it.

Nothing is removed but what another host certainly has.
"""

from collections.abc import Iterator

from chatmaild.accounts import departure
from chatmaild.accounts.directory import Directory
from chatmaild.accounts.directoryrows import Entry
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.errors import StoreError


def mend(directory: Directory, mailboxes: Mailboxes, domain: str, dry_run: bool) -> Iterator[str]:
    """Yield what is left to do in the chat domain `domain`; do the rest, unless `dry_run`.

    Raises `StoreError`.
    """
    root = f"{mailboxes.root}/{domain}"
    for homes, settle in ((departure.hidden_in(root), _leaving),
                          (departure.arrived_in(root), _arriving)):
        for home in homes:
            mailbox = mailboxes.find(home.rpartition("/")[2])
            if mailbox is None:
                continue
            try:
                problem = settle(mailbox, directory.find(mailbox.address), dry_run)
            except StoreError as error:
                problem = str(error)
            if problem:
                yield problem


def _leaving(mailbox: Mailbox, entry: Entry | None, dry_run: bool) -> str:
    address, path = mailbox.address, departure.path_of(mailbox.home)
    if entry and entry.is_own and entry.moving:
        return (f"{address}: waits on its way to {entry.moving}; chatmaild directory move "
                f"{address} {entry.moving} goes on, and --cancel keeps it here")
    if entry and not entry.is_own:
        if Mailbox(address, mailbox.domain, path).hash() != entry.hash:
            return (f"{path}: a mailbox that was to move, but {address} lives on {entry.node} with "
                    "another password; if that is its successor, remove it")
        if not dry_run:
            departure.remove(mailbox.home)
        return ""
    if dry_run:
        return f"{path}: would be put back, since the directory knows of no move"
    departure.put_back(mailbox.home)
    return ""


def _arriving(mailbox: Mailbox, entry: Entry | None, dry_run: bool) -> str:
    path = departure.arrival_of(mailbox.home)
    if entry and entry.moving:
        return ""       # it may be arriving just now
    if entry and entry.is_own and entry.hash and not mailbox.exists():
        if dry_run:
            return f"{path}: would be put in its place"
        if departure.place(mailbox.home, entry.hash):
            return ""
    where = f"lives on {entry.node}" if entry else "is not in the directory"
    return (f"{path}: a copy from a move that was given up, since {mailbox.address} {where}; "
            "remove it if the account is there")
