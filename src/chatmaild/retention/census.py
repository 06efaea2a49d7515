"""Counts what the mailboxes of a chat domain hold. Reads names only, and opens no mail."""

import os
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from chatmaild.accounts import settings
from chatmaild.accounts.layout import PASSWORD
from chatmaild.config.config import Config, DomainConfig
from chatmaild.disk import directories, maildir, maildirname
from chatmaild.errors import StoreError
from chatmaild.retention import rules

LOGIN_DAYS = (1, 7, 30, 90)
AGE_DAYS = (1, 3, 7, 14, 20, 40)
SIZES = (10_000, 100_000, 200_000, 1_000_000, 10_000_000)
"""Upper bounds of the classes that are counted; one more class holds everything above."""


def _classes(bounds: tuple[int, ...]) -> list[int]:
    return [0] * (len(bounds) + 1)


@dataclass
class Census:
    """What one domain holds."""

    accounts: int = 0
    without_account: int = 0
    """Mailboxes without `password`: leftovers, blocked addresses."""
    messages: int = 0
    octets: int = 0
    """Before compression, as the quota counts."""
    over_quota_mark: int = 0
    """Mailboxes above the mark from which on they are trimmed."""
    logins: list[int] = field(default_factory=lambda: _classes(LOGIN_DAYS))
    ages: list[int] = field(default_factory=lambda: _classes(AGE_DAYS))
    sizes: list[int] = field(default_factory=lambda: _classes(SIZES))


def take(
    config: Config, domain: DomainConfig, now: int, complain: Callable[[str, OSError], None],
    step: Callable[[], None],
) -> Census | None:
    """Count the mailboxes of `domain` at `now`, in seconds since the epoch.

    Calls `step` once for each directory entry, and `complain` with each error. None if the
    domain's directory cannot be read.
    """
    census = Census()
    deadlines = rules.Deadlines.of(domain, now)
    path = f"{config.mailboxes_dir}/{domain.name}"
    try:
        with directories.opened(path) as fd, os.scandir(fd) as entries:
            for entry in entries:
                if entry.name.endswith(f"@{domain.name}"):
                    try:
                        with directories.opened(entry.name, fd) as mailbox:
                            _count(census, mailbox, _own(mailbox, domain, deadlines))
                    except directories.GONE:
                        continue
                    except OSError as error:
                        complain(f"{path}/{entry.name}", error)
                step()
    except directories.GONE:
        pass
    except OSError as error:
        complain(path, error)
        return None
    return census


def _own(mailbox: int, domain: DomainConfig, deadlines: rules.Deadlines) -> rules.Deadlines:
    """Return the deadlines by an account's own settings; `expire` reports unreadable ones."""
    try:
        own = settings.load_at(mailbox, "")
    except StoreError:
        return deadlines
    return rules.Deadlines.of(settings.applied(domain, own), deadlines.now) if own else deadlines


def _count(census: Census, mailbox: int, deadlines: rules.Deadlines) -> None:
    try:
        login = os.stat(PASSWORD, dir_fd=mailbox, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        census.without_account += 1
    else:
        census.accounts += 1
        # A login is known to the day: one of today happened less than a day ago.
        today = deadlines.now // rules.DAY
        days = today - int(login) // rules.DAY + 1
        census.logins[bisect_left(LOGIN_DAYS, days)] += 1
    before = census.octets
    _count_kinds(census, mailbox, deadlines.now)
    for folder in maildir.folders(mailbox):
        try:
            with directories.opened(folder, mailbox) as fd:
                _count_kinds(census, fd, deadlines.now)
        except directories.GONE:
            continue
    if deadlines.trim_above is not None and census.octets - before > deadlines.trim_above:
        census.over_quota_mark += 1


def _count_kinds(census: Census, folder: int, now: int) -> None:
    for kind in ("new", "cur"):
        try:
            with directories.opened(kind, folder) as fd:
                for names in maildir.files(fd):
                    for name in names:
                        _count_message(census, fd, name, now)
        except directories.GONE:
            continue


def _count_message(census: Census, directory: int, name: str, now: int) -> None:
    saved: float | None = maildirname.saved(name)
    size = maildirname.size(name)
    if saved is None or size is None or saved > now:
        try:
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        saved = rules.clock(name, info.st_mtime, now)
        size = info.st_size if size is None else size
    census.messages += 1
    census.octets += size
    census.ages[bisect_left(AGE_DAYS, (now - saved) / rules.DAY)] += 1
    census.sizes[bisect_left(SIZES, size)] += 1
