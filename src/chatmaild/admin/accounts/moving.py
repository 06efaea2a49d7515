"""``accounts export`` and ``import``."""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from chatmaild.accounts import contents, passwordhash, transfer
from chatmaild.accounts.entries import Entries
from chatmaild.accounts.mailboxes import Mailbox
from chatmaild.accounts.transfer import Moved
from chatmaild.admin.accounts import newfile
from chatmaild.admin.accounts.changing import made_up_password, show_login
from chatmaild.admin.accounts.finding import find, find_account
from chatmaild.config.config import Config
from chatmaild.console import Console, counted, printable
from chatmaild.daemon import privileges
from chatmaild.errors import DirectoryError, StoreError, UsageError
from chatmaild.push.tokens import RELAY_FILE, DeviceTokens


def export(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Write an account as a tar archive. Returns 1 if a message was left out."""
    find_account(config, args.address)
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
            mailbox = find_account(config, args.address)
            extra = _tokens(mailbox, config) if args.complete else None
            progress = console.progress(lambda: contents.usage(mailbox.home).messages, "messages")
            count = contents.export(mailbox.home, mailbox.address, out, complain, progress.step,
                                    extra)
            progress.close()
    except BrokenPipeError:
        raise
    except OSError as error:
        left = "what was written so far is no complete archive" if args.file == "-" else "removed"
        raise StoreError(f"{args.file}: {error.strerror}; {left}") from None
    if args.file != "-":
        console.line(f"{counted(count, 'message')} written to {args.file}")
        console.result({"address": mailbox.address, "messages": count, "file": args.file})
    return 1 if problems else 0


def _output(file: str) -> AbstractContextManager[BinaryIO]:
    if file == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    return newfile.created(file)


def _tokens(mailbox: Mailbox, config: Config) -> dict[str, bytes]:
    """Return the push tokens as a relay's file, which chatmaild-metadata imports."""
    tokens = DeviceTokens(config.push_tokens_dir)
    return {RELAY_FILE: tokens.as_relay_file(mailbox.address, time.time())}


def bring_in(args: argparse.Namespace, config: Config, console: Console) -> int:
    """``accounts import``."""
    problems, entries = 0, Entries(config)
    secrets: dict[str, bytes] = {}

    def complain(text: str) -> None:
        nonlocal problems
        problems += 1
        console.error(printable(text))

    def make_hash(mailbox: Mailbox) -> str:
        secret = secrets[mailbox.address] = made_up_password()
        return passwordhash.hash_password(secret)

    source, reader = _source(args.source, complain)
    privileges.become(config.mail_user)
    results = []
    progress = console.progress(lambda: math.inf, "messages")
    with source, entries:
        for moved in _named(args.source, transfer.receive(
                source, lambda root: _find_here(config, entries, args.address or root), make_hash,
                complain, progress.step)):
            progress.close()
            if isinstance(moved, StoreError):
                complain(str(moved))
                continue
            entries.changed(moved.mailbox)
            address = moved.mailbox.address
            console.line(f"{address}: {counted(moved.messages, 'message')}")
            result: dict[str, object] = {"address": address, "messages": moved.messages}
            if moved.without_password:
                result |= show_login(moved.mailbox, secrets[address], console, qr=False)
            results.append(result)
    if reader and os.waitpid(reader, 0)[1]:
        problems += 1       # it said which
    if not results and not problems:
        complain(f"{'standard input' if args.source == '-' else args.source}: no account in it")
    console.result(results)
    return 1 if problems else 0


def _named(source: str, arrivals: Iterator[Moved | StoreError]) -> Iterator[Moved | StoreError]:
    """Yield the arrivals; an error of the archive names its file."""
    try:
        yield from arrivals
    except transfer.ArchiveError as error:
        raise StoreError(f"{'standard input' if source == '-' else source}: {error}") from None


def _find_here(config: Config, entries: Entries, address: str) -> Mailbox:
    """Return the mailbox for an account. Raises `UsageError`, also if it lives elsewhere."""
    mailbox = find(config, address)
    try:
        entries.reserve(mailbox)
    except DirectoryError:
        raise
    except StoreError as error:
        raise UsageError(str(error)) from None
    return mailbox


def _source(path: str, complain: Callable[[str], None]) -> tuple[BinaryIO, int | None]:
    """Open the archive in the file `path`, or have a child process make one of a directory.

    That process, whose id is returned, keeps the rights that we give up: a relay's mailboxes
    belong to another user. Raises `UsageError`.
    """
    try:
        if path == "-":
            return os.fdopen(os.dup(0), "rb"), None
        if not os.path.isdir(path):
            return open(path, "rb"), None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    homes = _homes(path)
    read, write = os.pipe()
    reader = os.fork()
    if reader:
        os.close(write)
        return os.fdopen(read, "rb"), reader
    os.close(read)
    code = 1
    try:
        with os.fdopen(write, "wb") as out:
            code = _archive(homes, out, complain)
    except (OSError, StoreError) as error:
        complain(f"{path}: {error}")
    finally:
        os._exit(code)


def _homes(path: str) -> list[str]:
    """Return the directory itself if it is a mailbox; else the mailboxes in it."""
    path = os.path.abspath(path)
    if "@" in os.path.basename(path):
        return [path]
    try:
        homes = sorted(entry.path for entry in os.scandir(path)
                       if "@" in entry.name[1:] and entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if not homes:
        raise UsageError(f"{path}: neither a mailbox nor a directory of mailboxes, which are "
                         "called name@domain")
    return homes


def _archive(homes: list[str], out: BinaryIO, complain: Callable[[str], None]) -> int:
    """Write the archive to `out`. Returns 1 if something was left out."""
    code = 0

    def tell(text: str) -> None:
        nonlocal code
        code = 1
        complain(text)

    with contents.archive_to(out) as archive:
        for home in homes:
            contents.add(archive, home, os.path.basename(home), tell, lambda: None, {})
    return code
