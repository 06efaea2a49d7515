"""Is chatmaild itself in order: its configuration, user, mailboxes and daily deletion?"""

import errno
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from chatmaild.accounts import hoststate, signup
from chatmaild.accounts.layout import PASSWORD
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.admin.check import hostfiles
from chatmaild.admin.check.findings import Finding, failure, ok, unseen, warning
from chatmaild.admin.check.hostfiles import Identity
from chatmaild.config import lastgood
from chatmaild.config.config import Config
from chatmaild.console import duration, octets
from chatmaild.daemon import owners
from chatmaild.errors import StoreError
from chatmaild.retention import logins, runstate

SAMPLE = 200
"""Mailboxes of a domain whose owner is looked at; a wrong chown hits them all."""


def check(
    config: Config,
    now: float | None = None,
    identify: Callable[..., Identity | None] = hostfiles.identity,
    last_good: Path = lastgood.PATH,
) -> Iterator[Finding]:
    """Yield findings about chatmaild.ini, mailboxes_dir, signups and expiry.

    `now` is in seconds since the epoch; None for the present.
    """
    now = time.time() if now is None else now
    owner = identify(config.mail_user)
    yield from _file(config, owner, last_good)
    if not config.mail_domains:
        yield warning("idle", f"{config.path}: mail_domains",
                      "no chat domain: chatmaild is installed but idle",
                      "mail_domains = chat.example.org")
        return
    if owner is None:
        yield failure("user", f"{config.path}: mail_user",
                      f"there is no user {config.mail_user}",
                      "systemd-sysusers   (or install the package again)")
        return
    try:
        yield from _mailboxes(config, owner)
        if not config.mailboxes_dir.is_dir():
            return
        yield from _signup(config)
        yield from _expiry(config, now)
    except PermissionError as error:
        yield unseen("mailboxes", str(error.filename), "cannot be looked at", "run as root")


def _file(config: Config, owner: Identity | None, copy: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(os.stat(config.path).st_mode)
    problem = owner and hostfiles.obstacle(owner, str(config.path), hostfiles.READ)
    place = str(config.path)
    if mode & 0o022:
        yield failure("config-mode", place,
                      f"{owners.describe(config.path)}: others may change it",
                      f"chmod 0644 {place}")
    elif not mode & 0o004:
        yield failure("config-mode", place,
                      f"{owners.describe(config.path)}: our services and Dovecot cannot read it",
                      f"chmod 0644 {place}")
    elif problem:
        yield failure("config-mode", place, f"user {config.mail_user} cannot read it: {problem}",
                      f"chmod a+rX {config.path.parent}")
    else:
        domains = ", ".join(config.mail_domains) or "no domain"
        yield ok("config", place, f"valid, for {domains}")
        if lastgood.is_outdated(config.path, copy):
            yield warning("config-changed", place, "has changed since the services read it",
                          "systemctl reload 'chatmaild-*.service'")


def _mailboxes(config: Config, owner: Identity) -> Iterator[Finding]:
    root = str(config.mailboxes_dir)
    problem = hostfiles.obstacle(owner, root, hostfiles.WRITE | hostfiles.SEARCH)
    if problem:
        yield failure("mailboxes-dir", root, f"user {owner.name} cannot work there: {problem}",
                      f"install -d -o {owner.name} -g {owner.name} -m 0750 {root}")
        return
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        yield failure("mailboxes-dir", root, "the file system is read-only: no mail can be "
                      "delivered or deleted", "journalctl -k; then mount it writable again")
    elif os.stat(root).st_mode & 0o007:
        yield failure("mailboxes-dir", root, f"{owners.describe(root)}: open to every user",
                      f"chmod o= {root}")
    else:
        yield ok("mailboxes-dir", root, owners.describe(root))
    if not os.access(root, os.R_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), root)
    mailboxes = Mailboxes(config)
    for domain in config.mail_domains:
        if not os.path.isdir(f"{root}/{domain}"):
            yield warning("domain-dir", f"{root}/{domain}",
                          "does not exist yet; chatmaild-doveauth makes it when it starts",
                          "systemctl restart chatmaild-doveauth")
            continue
        sample = itertools.islice(mailboxes.of_domain(domain), SAMPLE)
        paths = (path for m in sample for path in (m.home, f"{m.home}/{PASSWORD}"))
        foreign = next((path for path in paths if _owner(path, owner.uid) != owner.uid), None)
        if foreign:
            harm = ("no login can be recorded" if foreign.endswith(f"/{PASSWORD}") else
                    "its owner cannot log in")
            yield failure("mailbox-owner", foreign, f"is {owners.describe(foreign)}, so {harm}",
                          f"chown -R {owner.name}: {root}/{domain}")


def _owner(path: str, missing: int) -> int:
    """Return the uid of the owner of `path`; `missing` if nothing is there (any more)."""
    try:
        return os.lstat(path).st_uid
    except (FileNotFoundError, NotADirectoryError):
        return missing


def _signup(config: Config) -> Iterator[Finding]:
    place = str(config.mailboxes_dir)
    try:
        state = hoststate.Host(config).look(0.0)
    except StoreError as error:
        yield unseen("mailboxes", place, f"cannot be looked at: {error}", "run as root")
        return
    denial = signup.judge_host(state, config)
    if denial is signup.Denial.SWITCHED_OFF:
        switch = config.path.parent / "nocreate"
        yield warning("nocreate", str(switch), "no new account is made while this file is there",
                      f"rm {switch}")
    elif denial:
        short = {
            signup.Denial.LOAD: f"the load is {state.load or 0:.1f} for each processor, more than "
                                f"max_load_1m ({config.max_load_1m:g})",
            signup.Denial.MEMORY: f"{octets(state.available_memory or 0)} of memory available, "
                                  "less than min_available_memory "
                                  f"({octets(config.min_available_memory)})",
            signup.Denial.DISK: f"{octets(state.free_disk)} free, less than min_free_disk_space "
                                f"({octets(config.min_free_disk_space)})",
            signup.Denial.INODES: f"{state.free_inodes or 0:,} inodes free, less than "
                                  f"min_free_inodes ({config.min_free_inodes:,})",
        }
        seen_at = {signup.Denial.LOAD: "/proc/loadavg", signup.Denial.MEMORY: "/proc/meminfo"}
        yield warning(denial.value, seen_at.get(denial, place),
                      f"{short[denial]}: no new account is made")
    for domain in config.domains.values():
        if domain.signup != "open":
            yield ok("signup", f"{config.path}: signup",
                     f"{domain.signup} for {domain.name}: dcaccount: links do not work there"
                     + (", only those of chatmaild invite" if domain.signup == "invite" else ""))


def _expiry(config: Config, now: float) -> Iterator[Finding]:
    cure = "systemctl enable --now chatmaild-expire.timer; journalctl -u chatmaild-expire"
    place = runstate.path(config)
    try:
        last = runstate.load(config)
    except StoreError as error:
        yield warning("expire", place, str(error), cure)
        return
    since = f"{duration(now - last.good)} ago" if last and last.good else "never"
    if runstate.is_overdue(config, last, now):
        yield failure("expire", place, f"last run without a problem: {since}; mail is kept longer "
                      "than promised", cure)
    elif last is None:
        yield ok("expire", place, "chatmaild expire has not run yet; its timer starts it at night")
    else:
        yield ok("expire", place, f"last run without a problem: {since}")
    if last is None:
        return
    for domain, count in last.held_back.items():
        directory = f"{config.mailboxes_dir}/{domain}"
        if count and domain in config.domains and not logins.are_recorded(
                directory, domain, int(now)):
            yield failure("last-login", directory,
                          f"no login was recorded lately, so {count} inactive accounts are kept",
                          "see that chatmaild-lastlogin runs and that last_login_dict of the Lua "
                          "file is not overridden")
