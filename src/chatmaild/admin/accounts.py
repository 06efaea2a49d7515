"""``chatmaild accounts``: looks after accounts while the server runs."""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

from chatmaild.accounts import contents, passwordhash, sessions, signup
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.admin import links
from chatmaild.config import inifile
from chatmaild.config.config import Config
from chatmaild.console import Console, octets, printable
from chatmaild.daemon import privileges
from chatmaild.errors import StoreError, UsageError
from chatmaild.push.tokens import DeviceTokens

PASSWORD_LENGTH = 22
"""Characters of 5 random bits each, as many as a chat client makes up."""

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"

_Action = Callable[[argparse.Namespace, Config, Console], int]

_YES_NO = {True: "yes", False: "no"}


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, help: str, run: _Action, *addresses: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help)
        command.set_defaults(act=run)
        command.add_argument("--json", action="store_true", help="print one JSON document")
        if addresses:
            several: dict[str, Any] = {"nargs": "+"} if addresses == ("addresses",) else {}
            command.add_argument(*addresses, metavar="ADDRESS", **several)
        return command

    command = add("list", "list accounts with last login, size and state", _list)
    command.add_argument("domain", nargs="?", help="chat domain (default: all)")
    add("show", "show one account", _show, "address")
    command = add("create", "create an account and print its login", _create, "address")
    command.add_argument("--password-file", metavar="FILE",
                         help="take the password from the first line of FILE (-: standard input) "
                         "instead of making one up")
    command.add_argument("--no-qr", action="store_true", help="print no QR code")
    add("block", "nobody logs in, nothing is delivered; mail stays", _block, "addresses")
    add("unblock", "undo block", _unblock, "addresses")
    command = add("delete", "delete account and mail", _delete, "addresses")
    command.add_argument("--block", action="store_true",
                         help="keep the address from being made anew by the next login; one that "
                         "is blocked stays so in any case")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command = add("export", "write the mail of an account as a tar archive", _export, "address")
    command.add_argument("file", nargs="?", default="-", metavar="FILE",
                         help="file to write, which must not exist (default: standard output)")
    command = add("set", "change an account", _set, "address")
    command.add_argument("--incoming-cleartext", choices=("yes", "no"), required=True,
                         help="whether unencrypted mail to this address is accepted")


def run(args: argparse.Namespace, console: Console) -> int:
    config = inifile.load(args.config)
    if args.act not in (_create, _export):  # these open a file of the admin's first
        privileges.become(config.mail_user)
    act: _Action = args.act
    return act(args, config, console)


def _find(config: Config, address: str) -> Mailbox:
    """The mailbox of that name, which need not exist. Raises `UsageError`."""
    mailbox = Mailboxes(config).find(address)
    if mailbox is None and config.domain_of(address):
        raise UsageError(f"{address}: no name that a mailbox can have: up to 64 of a-z 0-9 . _ -, "
                         "and the first a letter, a digit or _")
    if mailbox is None:
        domains = ", ".join(config.mail_domains) or "none is configured"
        raise UsageError(f"{address}: no address of a chat domain ({domains})")
    return mailbox


def _find_account(config: Config, address: str) -> Mailbox:
    """The mailbox of that name, with an account. Raises `UsageError`, `StoreError`."""
    mailbox = _find(config, address)
    if not mailbox.exists():
        raise StoreError(f"{mailbox.address}: there is no such account")
    return mailbox


# ---- looking ------------------------------------------------------------------------------------


def _describe(mailbox: Mailbox) -> dict[str, Any]:
    """What may be shown of a mailbox; no secrets."""
    last_login = mailbox.last_login()
    used = contents.usage(mailbox.home)
    return {
        "address": mailbox.address,
        "account": last_login is not None,
        "last_login": _day(last_login),
        "messages": used.messages,
        "octets": used.octets,
        "quota": mailbox.domain.max_mailbox_size,
        "blocked": mailbox.is_blocked(),
        "incoming_cleartext": not mailbox.enforces_encryption(),
        "home": mailbox.home,
    }


def _day(seconds: int | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _list(args: argparse.Namespace, config: Config, console: Console) -> int:
    if args.domain is not None and args.domain.lower() not in config.domains:
        raise UsageError(f"{args.domain}: no chat domain; they are "
                         + (", ".join(config.mail_domains) or "not configured yet"))
    domains = [args.domain.lower()] if args.domain else config.mail_domains
    found, problems = [], []
    mailboxes = Mailboxes(config)
    for domain in domains:
        try:
            mailboxes.recover(domain)
        except StoreError as error:
            problems.append(str(error))
        for mailbox in mailboxes.of_domain(domain):
            try:
                account = _describe(mailbox)
                if account["account"] or os.path.lexists(mailbox.home):  # not deleted meanwhile
                    found.append(account)
            except StoreError as error:
                problems.append(str(error))
    found.sort(key=lambda account: str(account["address"]))
    console.table(
        ("ADDRESS", "LAST LOGIN", "MESSAGES", "SIZE", "STATE"),
        [(account["address"], account["last_login"] or "-", f"{account['messages']:,}",
          octets(account["octets"]), _state(account)) for account in found],
        right="llrrl",
    )
    console.result(found)
    for problem in problems:
        console.error(problem)
    return 1 if problems else 0


def _state(account: dict[str, Any]) -> str:
    words = ["blocked"] if account["blocked"] else []
    words += [] if account["account"] else ["no account"]
    words += ["takes cleartext"] if account["incoming_cleartext"] else []
    return ", ".join(words) or "ok"


def _show(args: argparse.Namespace, config: Config, console: Console) -> int:
    mailbox = _find(config, args.address)
    if not mailbox.exists() and not mailbox.is_blocked():
        raise StoreError(f"{mailbox.address}: there is no such account")
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
    console.line(f"mailbox             {account['home']}")
    console.result({**account, "password_scheme": scheme})
    return 0


def _export(args: argparse.Namespace, config: Config, console: Console) -> int:
    _find_account(config, args.address)
    if args.file == "-" and (sys.stdout.isatty() or args.json):
        raise UsageError("the archive would go to standard output: name a file, or use a pipe")
    problems = 0

    def complain(text: str) -> None:
        nonlocal problems
        problems += 1
        console.error(printable(text))

    try:
        with _output(args.file) as out:
            privileges.become(config.mail_user)
            mailbox = _find_account(config, args.address)
            count = contents.export(mailbox.home, mailbox.address, out, complain)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(f"{args.file}: {error.strerror}; what was written so far is no complete "
                         "archive") from None
    if args.file != "-":
        console.line(f"{count:,} messages written to {args.file}")
        console.result({"address": mailbox.address, "messages": count, "file": args.file})
    return 1 if problems else 0


def _output(file: str) -> BinaryIO:
    if file == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


# ---- changing -----------------------------------------------------------------------------------


def _create(args: argparse.Namespace, config: Config, console: Console) -> int:
    mailbox = _find(config, args.address)
    password = (_read_password(args.password_file) if args.password_file else
                "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH)).encode())
    privileges.become(config.mail_user)
    # The admin may give out any name; what could never log in again is refused here as well.
    lenient = replace(mailbox.domain, username_min_length=1, username_max_length=64,
                      reserved_names=frozenset(), signup="open", automatic_accounts=True)
    refusal = signup.judge_request(mailbox.address.partition("@")[0], password, lenient,
                                   config.recipient_delimiter)
    if refusal is signup.Refusal.PASSWORD:
        raise UsageError(f"the password must have from {lenient.password_min_length} to "
                         f"{signup.MAX_PASSWORD} octets, none of them a control character")
    if refusal:
        raise UsageError(f"{mailbox.address}: no name that a new account can have")
    outcome = mailbox.create(passwordhash.hash_password(password), time.time())
    if outcome is Creation.EXISTS:
        raise StoreError(f"{mailbox.address}: there is such an account already")
    if outcome is Creation.BLOCKED:
        raise StoreError(f"{mailbox.address} is blocked: chatmaild accounts unblock "
                         f"{mailbox.address}")
    console.line(f"created {mailbox.address}")
    result = {"address": mailbox.address}
    if not args.password_file:
        result |= {"password": password.decode(),
                   "link": links.login(mailbox.address, password.decode())}
        console.line(f"password {result['password']}")
        links.show(console, result["link"], qr=not args.no_qr)
    console.result(result)
    return 0


def _read_password(file: str) -> bytes:
    try:
        with (open(0, "rb", closefd=False) if file == "-" else open(file, "rb")) as source:
            return source.readline(signup.MAX_PASSWORD + 2).rstrip(b"\r\n")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def _each(
    args: argparse.Namespace, config: Config, console: Console,
    change: Callable[[Mailbox], str],
) -> int:
    """Do `change`, which says what it did, to each address; one that fails stops no other."""
    mailboxes = [_find(config, address) for address in dict.fromkeys(args.addresses)]
    results, code = [], 0
    for mailbox in mailboxes:
        try:
            text = change(mailbox)
            console.line(f"{mailbox.address}: {text}")
            results.append({"address": mailbox.address, "done": True})
        except StoreError as error:
            console.error(str(error))
            results.append({"address": mailbox.address, "done": False, "error": str(error)})
            code = 1
    console.result(results)
    return code


def _block(args: argparse.Namespace, config: Config, console: Console) -> int:
    def change(mailbox: Mailbox) -> str:
        mailbox.block()
        return "blocked" + _end_sessions(mailbox)

    return _each(args, config, console, change)


def _unblock(args: argparse.Namespace, config: Config, console: Console) -> int:
    def change(mailbox: Mailbox) -> str:
        return "unblocked" if mailbox.unblock() else "was not blocked"

    return _each(args, config, console, change)


def _delete(args: argparse.Namespace, config: Config, console: Console) -> int:
    tokens = DeviceTokens(config.push_tokens_dir)
    names = ", ".join(_find(config, address).address for address in args.addresses)
    if not args.yes and not console.confirm(f"Delete {names} and all mail in there?"):
        console.line("nothing deleted")
        console.result([])
        return 1

    def change(mailbox: Mailbox) -> str:
        block = args.block or mailbox.is_blocked()
        try:
            existed = mailbox.delete(block=block)
        finally:
            tokens.forget(mailbox.address)
            ended = _end_sessions(mailbox)
        if block:
            return ("deleted; the address is blocked" if existed else
                    "is blocked; had no mailbox") + ended
        if not existed:
            raise StoreError(f"{mailbox.address}: there is no such account")
        return "deleted" + ended + _rebirth(mailbox)

    return _each(args, config, console, change)


def _end_sessions(mailbox: Mailbox) -> str:
    """Nobody goes on reading and writing there. What to add to the report: why somebody may."""
    try:
        sessions.end([mailbox.address])
    except StoreError as error:
        return f"; {error}".replace("ADDRESS", mailbox.address)
    return ""


def _rebirth(mailbox: Mailbox) -> str:
    if mailbox.domain.signup == "closed":
        return ""
    return "; the next login under this address makes it anew (delete --block prevents that)"


def _set(args: argparse.Namespace, config: Config, console: Console) -> int:
    mailbox = _find_account(config, args.address)
    mailbox.enforce_encryption(args.incoming_cleartext == "no")
    console.line(f"{mailbox.address}: unencrypted mail is "
                 + ("accepted" if args.incoming_cleartext == "yes" else "refused"))
    console.result({"address": mailbox.address,
                    "incoming_cleartext": args.incoming_cleartext == "yes"})
    return 0
