"""``accounts list`` and ``show``."""

import argparse
import contextlib
import fnmatch
import functools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from chatmaild.accounts import contents
from chatmaild.accounts.layout import BLOCKED, ENFORCE_ENCRYPTION, PASSWORD
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.accounts.settings import SETTINGS
from chatmaild.admin.accounts import everywhere
from chatmaild.admin.accounts.finding import find, find_account
from chatmaild.config.config import Config
from chatmaild.console import Console, octets
from chatmaild.errors import StoreError, UsageError

_YES_NO = {True: "yes", False: "no"}


ORDERS: dict[str, Callable[[Mailbox], int] | None] = {
    "address": None,
    "last-login": lambda mailbox: mailbox.last_login() or 0,
    "size": lambda mailbox: contents.usage(mailbox.home).octets,
    "messages": lambda mailbox: contents.usage(mailbox.home).messages,
}
"""What a list can be sorted by, the smallest and oldest first."""


def _describe(mailbox: Mailbox) -> dict[str, Any]:
    """Return what may be shown of a mailbox; no secrets."""
    used = contents.usage(mailbox.home)
    last_login = mailbox.last_login()
    own = mailbox.settings() if SETTINGS in used.names else {}
    return {
        "address": mailbox.address,
        "account": last_login is not None,
        "last_login": _day(last_login),
        "messages": used.messages,
        "octets": used.octets,
        "quota": own.get("max_mailbox_size", mailbox.domain.max_mailbox_size),
        "settings": dict(own),
        "blocked": BLOCKED in used.names,
        "incoming_cleartext": PASSWORD in used.names and ENFORCE_ENCRYPTION not in used.names,
        "home": mailbox.home,
    }


def _day(seconds: int | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%d", time.gmtime(seconds))


def list_all(args: argparse.Namespace, config: Config, console: Console) -> int:
    """List the accounts. Returns the exit status: 1 if one could not be read."""
    if args.domain is not None and args.domain.lower() not in config.domains:
        raise UsageError(f"{args.domain}: not a chat domain; those are "
                         + (", ".join(config.mail_domains) or "not configured yet"))
    domains = [args.domain.lower()] if args.domain else config.mail_domains
    matches = _matcher(args.match)
    if args.everywhere:
        return everywhere.list_all(domains, matches, args, config, console)
    if args.names:
        return _names(domains, matches, config, console)
    mailboxes = Mailboxes(config)
    problems = _recovered(domains, mailboxes)
    order = ORDERS[args.sort]
    found = _addresses(domains, matches, mailboxes)
    found.sort(key=order and functools.partial(_key, order, mailboxes), reverse=args.reverse)
    accounts = _described(found, mailboxes, problems)
    console.table(
        ("ADDRESS", "LAST LOGIN", "MESSAGES", "SIZE", "STATE"),
        ((account["address"], account["last_login"] or "-", f"{account['messages']:,}",
          octets(account["octets"]), _state(account)) for account in accounts),
        right="llrrl",
    )
    console.results(accounts)
    for problem in problems:
        console.error(problem)
    return 1 if problems else 0


def _recovered(domains: Sequence[str], mailboxes: Mailboxes) -> list[str]:
    """Put back what a killed expire left aside; returns what went wrong."""
    problems = []
    for domain in domains:
        try:
            mailboxes.recover(domain)
        except StoreError as error:
            problems.append(str(error))
    return problems


def _addresses(domains: Sequence[str], matches: Callable[[str], bool],
               mailboxes: Mailboxes) -> list[str]:
    """Return the addresses in their order; nothing else of all accounts is in memory at once."""
    return sorted(mailbox.address for domain in domains for mailbox in mailboxes.of_domain(domain)
                  if matches(mailbox.address))


def _key(order: Callable[[Mailbox], int], mailboxes: Mailboxes, address: str) -> int:
    with contextlib.suppress(StoreError):   # which `_described` meets as well
        if mailbox := mailboxes.find(address):
            return order(mailbox)
    return 0


def _described(addresses: Sequence[str], mailboxes: Mailboxes,
               problems: list[str]) -> Iterator[dict[str, Any]]:
    """Describe these mailboxes; errors go to `problems`."""
    for mailbox in filter(None, map(mailboxes.find, addresses)):
        try:
            account = _describe(mailbox)
            if account["account"] or os.path.lexists(mailbox.home):     # not deleted meanwhile
                yield account
        except StoreError as error:
            problems.append(str(error))


def _matcher(text: str | None) -> Callable[[str], bool]:
    """Return a test: does an address contain `text`, or match it as a pattern with * or ?."""
    wanted = (text or "").lower()
    if not {"*", "?"} & set(wanted):
        return lambda address: wanted in address
    pattern = re.compile(fnmatch.translate(wanted.replace("[", "[[]")))    # which never backtracks
    return lambda address: pattern.match(address) is not None


def _names(domains: Sequence[str], matches: Callable[[str], bool], config: Config,
           console: Console) -> int:
    """Print the addresses, fast even on a large host: it reads directories only."""
    found = _addresses(domains, matches, Mailboxes(config))
    for address in found:
        console.line(address)
    console.results(found)
    return 0


def _state(account: dict[str, Any]) -> str:
    words = ["blocked"] if account["blocked"] else []
    words += [] if account["account"] else ["no account"]
    words += ["takes cleartext"] if account["incoming_cleartext"] else []
    words += ["own settings"] if account["settings"] else []
    return ", ".join(words) or "ok"


def own_setting(key: str, value: int) -> str:
    """Return what the account has in place of what chatmaild.ini says, for people."""
    return f"{key} = {octets(value) if key == 'max_mailbox_size' else value}"


def show(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Print one account. Returns the exit status."""
    mailbox = find(config, args.address)
    if not mailbox.is_blocked():
        find_account(config, args.address)
    account = _describe(mailbox)
    scheme = (mailbox.hash() or "").partition("}")[0].lstrip("{") if account["account"] else None
    console.line(f"address             {account['address']}")
    console.line(f"account             {_YES_NO[account['account']]}")
    console.line(f"last login          {account['last_login'] or '-'}")
    console.line(f"messages            {account['messages']:,}")
    console.line(f"size                {octets(account['octets'])} of {octets(account['quota'])}")
    console.line(f"blocked             {_YES_NO[account['blocked']]}")
    console.line(f"incoming cleartext  {_YES_NO[account['incoming_cleartext']]}")
    console.line(f"password scheme     {scheme or '-'}")
    for key, value in account["settings"].items():
        console.line(f"own setting         {own_setting(key, value)}")
    console.line(f"mailbox             {account['home']}")
    console.result({**account, "password_scheme": scheme})
    return 0
