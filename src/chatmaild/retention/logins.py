"""Tells from the accounts of a domain whether logins are being recorded at all."""

import os
from collections.abc import Iterator

from chatmaild.accounts.layout import ENFORCE_ENCRYPTION, PASSWORD
from chatmaild.retention import rules
from chatmaild.retention.rules import LoginTrace


def are_recorded(directory: str, domain: str, now: int) -> bool:
    """Look at the accounts in the domain's `directory` until one of them proves it.

    `now` is in seconds since the epoch. Raises OSError if the directory cannot be read.
    """
    with os.scandir(directory) as entries:
        return rules.logins_are_recorded(_traces(entries, f"@{domain}", now))


def _traces(entries: Iterator["os.DirEntry[str]"], suffix: str, now: int) -> Iterator[LoginTrace]:
    for entry in entries:
        if entry.name.endswith(suffix) and entry.is_dir(follow_symlinks=False):
            try:
                last_login = os.lstat(f"{entry.path}/{PASSWORD}").st_mtime
                made = _mtime(f"{entry.path}/{ENFORCE_ENCRYPTION}")
            except OSError:
                continue
            yield rules.login_trace(last_login, made, now)


def _mtime(path: str) -> float | None:
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return None
