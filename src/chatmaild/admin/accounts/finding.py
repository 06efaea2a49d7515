"""Finds the mailbox that an admin names."""

from chatmaild.accounts.entries import Entries
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.config.config import Config
from chatmaild.errors import StoreError, UsageError


def find(config: Config, address: str) -> Mailbox:
    """Return the mailbox of that name, which need not exist. Raises `UsageError`."""
    mailbox = Mailboxes(config).find(address)
    if mailbox is None and config.domain_of(address):
        raise UsageError(f"{address}: not a name that a mailbox can have: up to 64 of a-z 0-9 . _ "
                         "-, the first of them a letter, a digit or _")
    if mailbox is None:
        domains = ", ".join(config.mail_domains) or "none is configured"
        raise UsageError(f"{address}: not in a chat domain ({domains})")
    return mailbox


def find_account(config: Config, address: str) -> Mailbox:
    """Return the mailbox of that name. Raises `UsageError`; `StoreError` if it is no account."""
    mailbox = find(config, address)
    if not mailbox.exists():
        with Entries(config) as entries:
            entries.assert_home(mailbox)
        raise StoreError(f"{mailbox.address}: there is no such account")
    return mailbox
