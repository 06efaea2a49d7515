"""Checks what a login and a delivery did to the host: the part of `check --live` for the disk.

Settings of the host may outrank, survive or overwrite ours in more ways than anybody can list. So
these checks look at effects: where mail lies, what was recorded, what else appeared.
"""

import contextlib
import imaplib
import os
import re
import time
from collections.abc import Iterator

from chatmaild.accounts.layout import DAY, PASSWORD
from chatmaild.admin.check import visitor as visitors
from chatmaild.admin.check.findings import Finding, failure, ok, warning
from chatmaild.admin.check.visitor import TROUBLE, Visitor
from chatmaild.admin.servers.doveconf import Block, Dovecot
from chatmaild.config.config import Config

RECORDED = 5
"""Seconds within which a login has to be recorded."""

FOLDER = "DeltaChat"     # Dovecot 2.3 lets chat users create only a few, see chatmaild.lua
"""Made in the throw-away account, and removed with it."""

SCRIPTED = "chatmaild-check-sieve"
"""The folder into which mail goes where a person's own Sieve script runs."""

_SCRIPT = f'require ["fileinto", "mailbox"];\nfileinto :create "{SCRIPTED}";\n'

_MAX_ENTRIES = 100_000
_MAX_DEPTH = 4
"""How much of a directory is searched for traces."""

_BETWEEN_PATHS = re.compile(r"[:\s]|=(?=/)")
_LISTED = re.compile(rb'\([^)]*\) (?:"[^ ]+"|NIL) (.*)')
_SPOOLS = ("/var/mail", "/var/spool/mail", "/home")


def plant_script(config: Config, visitor: Visitor) -> None:
    """Give the account a Sieve script, where most hosts look for one.

    Raises `ChatmaildError`.
    """
    def write() -> None:
        with open(f"{visitor.mailbox.home}/.dovecot.sieve", "x") as file:
            file.write(_SCRIPT)
    visitors.as_owner(config, write)


def check(config: Config, visitor: Visitor, neighbour: Visitor,
          dovecot: Dovecot | None) -> Iterator[Finding]:
    """Yield findings about the account of `visitor`, which has logged in and may have mail."""
    try:
        with visitor.logged_in() as client:
            yield _script(client, visitor)
            yield _mail_on_disk(client, visitor)
            yield _quota(client, visitor)
            yield _neighbour(client, neighbour, dovecot)
    except TROUBLE as error:
        yield failure("live-effects", visitor.address,
                      f"the session broke: {error or type(error).__name__}",
                      "journalctl -u dovecot")
    yield _last_login(config, visitor)
    yield _traces(config, visitor, dovecot)


def _script(client: imaplib.IMAP4, visitor: Visitor) -> Finding:
    place = f"{visitor.mailbox.home}/.dovecot.sieve"
    if any(name.endswith(SCRIPTED) for name in _folders(client)):
        return failure(
            "live-script", place, "Sieve ran a chat user's own script: scripts can send mail past "
            "the filter", "see the findings about sieve, or take sieve out of LMTP's mail_plugins")
    return ok("live-script", place, "no Sieve script runs for chat users")


def _folders(client: imaplib.IMAP4) -> list[str]:
    """Return the names that LIST shows, in IMAP's encoding."""
    _, lines = client.list()
    found = (_LISTED.fullmatch(line) for line in lines if isinstance(line, bytes))
    return [match[1].decode("utf-8", "replace").strip('"') for match in found if match]


def _mail_on_disk(client: imaplib.IMAP4, visitor: Visitor) -> Finding:
    """Verify that messages, in INBOX and in a folder, lie where `expire` looks."""
    home = visitor.mailbox.home
    place = f"mail of {visitor.address}"
    count = int(client.select("INBOX")[1][0] or b"0")
    folder = _personal_prefix(client) + FOLDER
    client.create(folder)
    client.append(folder, "", "", b"From: <check@chatmaild.invalid>\r\n\r\nonly here\r\n")
    found = {name: sum(len(_listing(f"{home}/{name}/{part}")) for part in ("new", "cur"))
             for name in ("", f".{FOLDER}")}
    client.delete(folder)
    if count and not found[""]:
        return failure("live-mail", place, f"IMAP shows {count} message(s), none of which lies in "
                       f"{home}: chatmaild expire would never delete it", _OUTRANKED)
    if not found[f".{FOLDER}"]:
        return failure("live-mail", place, f"a folder made by IMAP is not in {home}: chatmaild "
                       "expire would never delete what is in it", _OUTRANKED)
    return ok("live-mail", place, f"lies in {home}, where chatmaild expire looks")


_OUTRANKED = ("a namespace, or a mail_path, of the host's outranks what chatmaild returns; see "
              "the findings about Dovecot, and namespace in doveconf -n")


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _personal_prefix(client: imaplib.IMAP4) -> str:
    _, lines = client.namespace()
    match = re.match(rb'\(\("([^"]*)"', lines[0] or b"")
    return match[1].decode() if match else ""


def _quota(client: imaplib.IMAP4, visitor: Visitor) -> Finding:
    place = f"quota of {visitor.address}"
    expected = visitor.mailbox.domain.max_mailbox_size // 1024
    answers: list[list[bytes | None]] = []
    with contextlib.suppress(imaplib.IMAP4.error):      # a server that knows no QUOTA says BAD
        answers = client.getquotaroot("INBOX")[1]
    limits = [int(number) for answer in answers for line in answer if isinstance(line, bytes)
              for number in re.findall(rb"STORAGE \d+ (\d+)", line)]
    if not limits:
        return failure("live-quota", place, "Dovecot counts none: a mailbox may grow without limit",
                       "see plugin/quota (2.3) or quota (2.4) in doveconf -n")
    others = [limit for limit in limits if limit != expected]
    if others:
        return failure("live-quota", place, f"is {others[0]} KiB, but max_mailbox_size says "
                       f"{expected} KiB: a setting of the host's outranks it",
                       "see the findings about quota, and quota in doveconf -n")
    return ok("live-quota", place, f"{expected} KiB, as max_mailbox_size says")


def _neighbour(client: imaplib.IMAP4, neighbour: Visitor, dovecot: Dovecot | None) -> Finding:
    """Verify that no mailbox of another account opens, whatever namespaces the host shares."""
    place = "mailboxes of others"
    namespaces = sorted(_foreign_namespaces(client, dovecot))
    for prefix, separator in namespaces:
        for name in (neighbour.address, neighbour.name):
            for folder in (f"{prefix}{name}", f"{prefix}{name}{separator}INBOX"):
                with contextlib.suppress(imaplib.IMAP4.error):
                    if client.select(f'"{folder}"', readonly=True)[0] == "OK":
                        return failure("live-neighbour", place, "a chat user can open that of "
                                       f"another one, as {folder}", _SHARED)
    foreign = [name for name in _folders(client)
               if any(prefix and name.startswith(prefix) for prefix, _ in namespaces)]
    if foreign:
        return failure("live-neighbour", place,
                       f"chat users see {len(foreign)} folder(s) that others share", _SHARED)
    return ok("live-neighbour", place, "none opens")


_SHARED = "see the findings about namespaces, and namespace in doveconf -n"


def _foreign_namespaces(client: imaplib.IMAP4, dovecot: Dovecot | None) -> set[tuple[str, str]]:
    """Return prefix and separator of those that are not personal: as shown, and as configured."""
    _, lines = client.namespace()
    personal, _, others = (lines[0] or b"").decode("utf-8", "replace").partition("))")
    found = {(prefix, separator) for prefix, separator in re.findall(r'\("([^"]*)" "(.)"', others)
             if not personal.startswith("NIL")}
    for block in dovecot.tree.all("namespace") if dovecot else ():
        kind = block.get("type") or block.get("namespace_type")
        prefix = block.get("prefix") or block.get("namespace_prefix")
        if kind in ("shared", "public") and prefix:
            separator = block.get("separator") or block.get("namespace_separator") or "/"
            found.add((prefix.partition("%")[0].replace("$", ""), separator))
    return found


def _last_login(config: Config, visitor: Visitor) -> Finding:
    """Verify that a login dates the password file to today; else every account expires."""
    path = f"{visitor.mailbox.home}/{PASSWORD}"
    past = time.time() - 10 * DAY
    visitors.as_owner(config, lambda: os.utime(path, (past, past)))
    try:
        with visitor.logged_in() as client:
            client.select("INBOX")
            deadline = time.monotonic() + RECORDED
            while time.monotonic() < deadline:
                if os.stat(path).st_mtime > past + 8 * DAY:
                    return ok("live-last-login", path, "the login was recorded")
                time.sleep(0.05)
    except TROUBLE as error:
        return failure("live-last-login", path, f"cannot log in again: {error}")
    return failure("live-last-login", path, "the login was not recorded: accounts in use would be "
                   "taken for unused, and none is removed before that is mended",
                   "journalctl -u chatmaild-lastlogin; last_login in doveconf -n")


def _traces(config: Config, visitor: Visitor, dovecot: Dovecot | None) -> Finding:
    """Verify that nothing of the account is outside mailboxes_dir, where it would stay for ever."""
    place = "outside of mailboxes_dir"
    ours = os.path.realpath(config.mailboxes_dir)
    roots = {os.path.realpath(root) for root in {*_SPOOLS, *_prefixes(dovecot)}}
    searched = 0
    for root in sorted(roots):
        for path in _walk(root, ours):
            searched += 1
            if visitor.name in os.path.basename(path):
                return failure("live-traces", place, f"{path} appeared, which chatmaild neither "
                               "counts nor deletes", "a path of the host's (index, control, alt, "
                               "INBOX) outranks what chatmaild returns; see doveconf -n")
            if searched == _MAX_ENTRIES:
                return warning("live-traces", place, f"nothing of {visitor.address} in the first "
                               f"{searched} entries of {', '.join(sorted(roots))}")
    return ok("live-traces", place, f"nothing of {visitor.address} appeared")


def _prefixes(dovecot: Dovecot | None) -> set[str]:
    """Return the directories in which Dovecot's settings make one for each user."""
    def values(block: Block) -> Iterator[str]:
        yield from block.values.values()
        for inner in block.blocks:
            yield from values(inner)
    found = {prefix for value in (values(dovecot.tree) if dovecot else ())
             for path in _BETWEEN_PATHS.split(value) if path.startswith("/") and "%" in path
             for prefix in [path.partition("%")[0].rpartition("/")[0]]}
    return {prefix for prefix in found - {""} if not prefix.startswith(("/proc", "/sys", "/dev"))}


def _walk(root: str, left_out: str, depth: int = 0) -> Iterator[str]:
    if root == left_out or depth > _MAX_DEPTH:
        return
    try:
        entries = list(os.scandir(root))
    except OSError:
        return
    for entry in entries:
        yield entry.path
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, left_out, depth + 1)
