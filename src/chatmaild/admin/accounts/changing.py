"""``accounts create``, ``password``, ``block``, ``unblock``, ``delete`` and ``set``."""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

from chatmaild.accounts import madeup, passwordhash, sessions, settings, signup
from chatmaild.accounts.entries import Entries
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import Mailbox
from chatmaild.admin import links
from chatmaild.admin.accounts.finding import find, find_account
from chatmaild.admin.accounts.looking import own_setting
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import privileges
from chatmaild.errors import StoreError, UsageError
from chatmaild.push.tokens import DeviceTokens

PASSWORD_LENGTH = 22
"""Characters of 5 random bits each, as many as a chat client makes up."""

DEFAULT = "default"

OWN = {
    "--quota": ("max_mailbox_size", "SIZE", "how much mail it may hold"),
    "--rate": ("max_user_send_per_minute", "N", "messages that it may send in a minute"),
    "--burst": ("max_user_send_burst_size", "N", "messages that it may send at once"),
    "--retention": ("delete_mails_after", "DAYS", "days for which its mail is kept, at most "
                    "those of the domain"),
    "--large-retention": ("delete_large_after", "DAYS", "the same for large messages"),
}
"""What an account can have for itself: option -> key, kind of value, meaning."""


def create(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Make an account and print its login. Returns the exit status."""
    mailbox = find(config, args.address)
    secret = _password(args, config, mailbox)
    hashed = passwordhash.hash_password(secret)
    with Entries(config) as entries:
        entries.claim(mailbox, hashed)
        outcome = mailbox.create(hashed, time.time())
        if outcome is not Creation.DONE:
            entries.changed(mailbox)    # takes the claim back
    if outcome is Creation.EXISTS:
        raise StoreError(f"{mailbox.address}: there is such an account already")
    if outcome is Creation.BLOCKED:
        raise StoreError(f"{mailbox.address} is blocked: chatmaild accounts unblock "
                         f"{mailbox.address}")
    if outcome is Creation.ENDING:
        raise StoreError(f"{mailbox.address}: the sessions of its former owner are being ended; "
                         "try again in two minutes")
    console.line(f"created {mailbox.address}")
    console.result({"address": mailbox.address} | _login(args, mailbox, secret, console))
    return 0


def password(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Replace a password, and end the sessions that used the old one."""
    mailbox = find(config, args.address)
    secret = _password(args, config, mailbox)
    find_account(config, args.address)
    mailbox.set_password(passwordhash.hash_password(secret))
    with Entries(config) as entries:
        entries.changed(mailbox)
    console.line(f"{mailbox.address}: has a new password{_end_sessions(mailbox)}")
    console.result({"address": mailbox.address} | _login(args, mailbox, secret, console))
    return 0


def made_up_password() -> bytes:
    """Return a fresh random password of `PASSWORD_LENGTH` characters."""
    return madeup.text(PASSWORD_LENGTH).encode()


def _password(args: argparse.Namespace, config: Config, mailbox: Mailbox) -> bytes:
    """Return the admin's password or a made-up one, and become the mail user.

    The admin may use any free name, but nothing that could never log in. Raises `UsageError`.
    """
    secret = _read_password(args.password_file) if args.password_file else made_up_password()
    privileges.become(config.mail_user)
    lenient = replace(mailbox.domain, username_min_length=1, username_max_length=64,
                      reserved_names=frozenset(), signup="open", automatic_accounts=True)
    refusal = signup.judge_request(mailbox.address.partition("@")[0], secret, lenient,
                                   config.recipient_delimiter)
    if refusal is signup.Denial.PASSWORD:
        raise UsageError(f"the password must have from {lenient.password_min_length} to "
                         f"{signup.MAX_PASSWORD} octets, none of them a control character")
    if refusal and not mailbox.exists():
        raise UsageError(f"{mailbox.address}: not a name that a new account can have")
    return secret


def _login(
    args: argparse.Namespace, mailbox: Mailbox, secret: bytes, console: Console
) -> dict[str, str]:
    """Print a made-up login; admins know their own."""
    if args.password_file:
        return {}
    return show_login(mailbox, secret, console, qr=not args.no_qr)


def show_login(mailbox: Mailbox, secret: bytes, console: Console, qr: bool) -> dict[str, str]:
    """Print the login. Returns the same for ``--json``."""
    link = links.login(mailbox.address, secret.decode())
    console.line(f"password {secret.decode()}")
    links.show(console, link, qr=qr)
    return {"password": secret.decode(), "link": link}


def _read_password(file: str) -> bytes:
    try:
        with (open(0, "rb", closefd=False) if file == "-" else open(file, "rb")) as source:
            return source.readline(signup.MAX_PASSWORD + 2).rstrip(b"\r\n")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def _each(
    args: argparse.Namespace, config: Config, console: Console,
    change: Callable[[Mailbox, Entries], str],
) -> int:
    """Apply `change`, which returns a report, to each address; one failure stops no other."""
    with Entries(config) as entries:
        return _all(args, config, console, lambda mailbox: change(mailbox, entries))


def _all(args: argparse.Namespace, config: Config, console: Console,
         change: Callable[[Mailbox], str]) -> int:
    mailboxes = [find(config, address) for address in dict.fromkeys(args.addresses)]
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


def block(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Block each address and end its sessions. Returns the exit status."""
    def change(mailbox: Mailbox, entries: Entries) -> str:
        entries.assert_home(mailbox)
        mailbox.block()
        ended = _end_sessions(mailbox)
        entries.changed(mailbox)
        return "blocked" + ended

    return _each(args, config, console, change)


def unblock(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Undo `block` for each address. Returns the exit status."""
    def change(mailbox: Mailbox, entries: Entries) -> str:
        entries.assert_home(mailbox)
        was_blocked = mailbox.unblock()
        entries.changed(mailbox)
        return "unblocked" if was_blocked else "was not blocked"

    return _each(args, config, console, change)


def delete(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Delete each account with its mail, tokens and sessions. Returns the exit status."""
    tokens = DeviceTokens(config.push_tokens_dir)
    names = ", ".join(find(config, address).address for address in args.addresses)
    if not args.yes and not console.confirm(f"Delete {names} with all mail?"):
        console.line("nothing deleted")
        console.result([])
        return 1

    def change(mailbox: Mailbox, entries: Entries) -> str:
        entries.assert_home(mailbox)
        block = args.block or mailbox.is_blocked()
        try:
            with entries.deleting(mailbox):
                existed = mailbox.delete(block=block)
        finally:
            ended = _end_sessions(mailbox)
            tokens.forget(mailbox.address)      # after the last session that could set one
            if not ended:
                mailbox.settle()
        if block:
            return ("deleted; the address is blocked" if existed else
                    "is blocked; had no mailbox") + ended
        if not existed:
            raise StoreError(f"{mailbox.address}: there is no such account")
        return "deleted" + ended + _rebirth(mailbox)

    return _each(args, config, console, change)


def _end_sessions(mailbox: Mailbox) -> str:
    """End the sessions of the account. Returns a warning for the report if that fails; else ""."""
    try:
        sessions.end([mailbox.address])
    except StoreError as error:
        return f"; {error}".replace("ADDRESS", mailbox.address)
    return ""


def _rebirth(mailbox: Mailbox) -> str:
    if mailbox.domain.signup == "closed":
        return ""
    return "; the next login under this address makes it anew (delete --block prevents that)"


def set_up(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Change the account's own settings. Returns the exit status."""
    changes = {key: getattr(args, key) for key, _, _ in OWN.values()}
    if args.incoming_cleartext is None and not any(changes.values()):
        raise UsageError("nothing to change: say what, with one of --incoming-cleartext, "
                         + ", ".join(OWN))
    mailbox = find_account(config, args.address)
    own = _changed(mailbox, {key: text for key, text in changes.items() if text is not None})
    result: dict[str, object] = {"address": mailbox.address}
    if args.incoming_cleartext:
        mailbox.enforce_encryption(args.incoming_cleartext == "no")
        with Entries(config) as entries:
            entries.changed(mailbox)
        result["incoming_cleartext"] = args.incoming_cleartext == "yes"
        console.line(f"{mailbox.address}: unencrypted mail is "
                     + ("accepted" if args.incoming_cleartext == "yes" else "refused"))
    if any(changes.values()):
        mailbox.set_settings(own)
        result["settings"] = dict(own)
        for key, text in changes.items():
            if text is not None:
                console.line(f"{mailbox.address}: " + (
                    own_setting(key, own[key]) if key in own else f"{key} is as the domain has it"))
    console.result(result)
    return 0


def _changed(mailbox: Mailbox, changes: dict[str, str]) -> dict[str, int]:
    """Return the account's settings with these changes. Raises `UsageError`."""
    try:
        own = dict(mailbox.settings())
    except StoreError:
        if not changes:
            raise
        own = {}        # it is written anew
    for option, (key, _, _) in OWN.items():
        text = changes.get(key)
        if text == DEFAULT:
            own.pop(key, None)
        elif text is not None:
            try:
                own[key] = settings.value(key, text)
            except ValueError as error:
                raise UsageError(f"{option} {text}: {error}, or \"{DEFAULT}\"") from None
            most = getattr(mailbox.domain, key)
            if key in settings.DAYS and own[key] > most:
                raise UsageError(f"{option} {text}: {key} is {most} in {mailbox.domain.name}, and "
                                 "an account's mail can only go earlier")
    return own
