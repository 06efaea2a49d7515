"""Walks over all chat mailboxes once: mail by age, size and quota, unused accounts, leftovers.

Several processes can share the work: each walks everything and does its own share, and `Tally.add`
adds up the counts.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Container
from zlib import crc32

from chatmaild.accounts import lifecycle, sessions, settings
from chatmaild.accounts.entries import Entries
from chatmaild.accounts.invites import Invites
from chatmaild.accounts.layout import BLOCKED, PASSWORD, explain, home_of
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.config.config import Config, DomainConfig
from chatmaild.disk import directories, maildir
from chatmaild.disk.directories import is_there
from chatmaild.errors import StoreError
from chatmaild.push.tokens import DeviceTokens
from chatmaild.retention import logins
from chatmaild.retention.expunge import Complaint, Expunger, Note, Tally
from chatmaild.retention.rules import ABANDONED_AFTER, Deadlines, Reason

MAX_WAIT = 10.0
"""Seconds between the removal of an account and the end of its sessions, at most, plus the time
that one mailbox takes.
"""


class Expiry:
    """A walk at `now` (seconds since the epoch) for share `share` of `shares`, from 0."""

    def __init__(
        self, config: Config, now: int, dry_run: bool, note: Note | None, complain: Complaint,
        share: int = 0, shares: int = 1,
    ):
        self.tally = Tally()
        self._config = config
        self._now = now
        self._dry_run = dry_run
        self._note = note
        self._complain = complain
        self._share, self._shares = share, shares
        self._expunger = Expunger(dry_run, self.tally, note, self._problem)
        self._recorded: dict[str, bool] = {}
        self._tokens = DeviceTokens(config.push_tokens_dir)
        self._entries = Entries(config)
        self._removed: list[Mailbox] = []
        """Mailboxes whose sessions have to end."""
        self._since = 0.0
        """When the first of `_removed` was added, by the monotonic clock."""

    def sweep(self) -> set[str]:
        """Remove leftovers of killed processes and expired invitations; returns the paths."""
        gone: set[str] = set()
        mailboxes = Mailboxes(self._config)
        invites = Invites(mailboxes)
        for domain in self._config.domains:
            directory = f"{self._config.mailboxes_dir}/{domain}"
            if os.path.islink(directory):
                continue    # `walk` reports it
            try:
                swept = mailboxes.sweep(domain, self._now, self._dry_run)
                swept += invites.sweep(domain, self._now, self._dry_run)
            except StoreError as error:
                self._problem(directory, error)
                continue
            gone.update(swept)
            for path in swept:
                if self._dry_run or not os.path.lexists(path):
                    self._gone(Reason.LEFTOVER, path)
                else:
                    self._problem(path, StoreError("could not be removed; see to whom it belongs"))
        if not self._dry_run:
            self._forget_invitations()
        return gone

    def _forget_invitations(self) -> None:
        with self._entries:     # no process is forked with a connection
            for domain in self._config.domains:
                try:
                    self._entries.forget_invitations(domain, self._now)
                except StoreError as error:
                    self._problem(f"{self._config.mailboxes_dir}/{domain}", error)
                    return

    def walk(self, step: Callable[[], None], gone: Container[str]) -> None:
        """Expire every mailbox of this share; calls `step` once for each directory entry.

        Skips the paths in `gone`, which `sweep` returned.
        """
        for domain in self._config.domains.values():
            path = f"{self._config.mailboxes_dir}/{domain.name}"
            try:
                self._domain(domain, path, step, gone)
            except BrokenPipeError:
                raise
            except directories.GONE as error:
                # only one of the processes reports it
                if self._share == 0:
                    self._problem(path, explain(path, error))
            except OSError as error:
                if error.errno == errno.ELOOP:
                    error = OSError(errno.EIO, "a symbolic link, so nothing in it is deleted; "
                                               "mount the other disk there instead")
                self._problem(path, error)
        self._end_sessions()

    def _end_sessions(self) -> None:
        """End the sessions of removed accounts, so that no next owner shares a mailbox with them.

        Usually nobody is connected, since a session counts as a login. Dovecot need not run.
        """
        removed, self._removed = self._removed, []
        if self._dry_run or not removed:
            return
        try:
            sessions.end([mailbox.address for mailbox in removed])
        except StoreError as error:
            self._problem(sessions.SOCKET, error)
            return
        for mailbox in removed:
            self._forget_tokens(mailbox)    # a session may have set one meanwhile
            try:
                mailbox.settle()
            except StoreError as error:
                self._problem(mailbox.home, error)

    def _end_sessions_soon(self) -> None:
        """End them in batches: nobody can have one of these addresses before."""
        if self._removed and (len(self._removed) >= sessions.MAX_ADDRESSES
                              or time.monotonic() > self._since + MAX_WAIT):
            self._end_sessions()

    def _note_removed(self, mailbox: Mailbox) -> None:
        if not self._removed:
            self._since = time.monotonic()
        self._removed.append(mailbox)

    def _problem(self, path: str, error: Exception) -> None:
        """Report a problem.

        A link at or in a mailbox is only a warning and does not fail the run: whoever made it is
        responsible for its target.
        """
        if not (isinstance(error, OSError) and error.errno == errno.ELOOP):
            self.tally.problems += 1
        self._complain(path, error)

    def _domain(
        self, domain: DomainConfig, path: str, step: Callable[[], None], gone: Container[str],
    ) -> None:
        suffix = f"@{domain.name}"
        deadlines = Deadlines.of(domain, self._now)
        with directories.opened(path) as fd, os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if name.endswith(suffix) and self._is_mine(name):
                    home = f"{path}/{name}"
                    if home not in gone:
                        address, home = self._as_settled(name, home, gone)
                        self._mailbox(Mailbox(address, domain, home), name, fd, deadlines)
                        self._end_sessions_soon()
                step()

    def _as_settled(self, name: str, path: str, gone: Container[str]) -> tuple[str, str]:
        """Return address and home of the mailbox at `path`.

        A dry run finds some aside that the sweep of a real run would have moved.
        """
        home = home_of(path) if self._dry_run else None
        if home and (home in gone or not os.path.lexists(home)):
            return os.path.basename(home), home
        return name, path

    def _is_mine(self, name: str) -> bool:
        return self._shares == 1 or crc32(os.fsencode(name)) % self._shares == self._share

    def _mailbox(self, mailbox: Mailbox, name: str, parent: int, deadlines: Deadlines) -> None:
        """Expire one mailbox; an error there never stops the others."""
        try:
            with directories.opened(name, parent) as fd:
                self.tally.mailboxes += 1
                self._open_mailbox(mailbox, fd, deadlines)
        except directories.GONE:
            return
        except BrokenPipeError:
            raise
        except Exception as error:
            self._problem(mailbox.home, error)

    def _open_mailbox(self, mailbox: Mailbox, fd: int, deadlines: Deadlines) -> None:
        try:
            password = os.stat(PASSWORD, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            self._no_account(mailbox, fd, deadlines)
            return
        if own := settings.load_at(fd, mailbox.home):
            deadlines = Deadlines.of(settings.applied(mailbox.domain, own), self._now)
        if password.st_mtime < deadlines.inactive:
            if os.geteuid() not in (0, password.st_uid):
                self._problem(f"{mailbox.home}/{PASSWORD}", StoreError(
                    "inactive, but kept: its password file belongs to another user than the "
                    "mailboxes, so no login can be recorded; chown it"))
            elif self._logins_are_recorded(mailbox.domain.name):
                self._inactive(mailbox, deadlines)
                return
            else:
                self.tally.held_back[mailbox.domain.name] += 1
        if mailbox.domain.signup == "invite":
            self._remove_claims(mailbox, fd)
        before = self.tally.expunged
        self._expunger.mailbox(fd, mailbox.home, deadlines)
        if self.tally.expunged > before:
            self._expunger.forget_sizes(fd, mailbox.home)

    def _remove_claims(self, mailbox: Mailbox, fd: int) -> None:
        for name in lifecycle.spent_claims(fd):
            if not self._dry_run:
                with contextlib.suppress(FileNotFoundError):    # its creation ends this moment
                    os.unlink(name, dir_fd=fd)
            self._gone(Reason.LEFTOVER, f"{mailbox.home}/{name}")

    def _logins_are_recorded(self, domain: str) -> bool:
        if domain not in self._recorded:
            directory = f"{self._config.mailboxes_dir}/{domain}"
            self._recorded[domain] = logins.are_recorded(directory, domain, self._now)
        return self._recorded[domain]

    def _inactive(self, mailbox: Mailbox, deadlines: Deadlines) -> None:
        """Remove an account, unless the owner logs in, or an admin blocks it, at this moment."""
        def seen(moved: str) -> bool:
            return (os.lstat(f"{moved}/{PASSWORD}").st_mtime >= deadlines.inactive
                    or is_there(f"{moved}/{BLOCKED}"))

        if self._dry_run:
            self._foresee(mailbox)
        elif not self._delete(mailbox, seen):
            return
        self._gone(Reason.INACTIVE, mailbox.home)
        self._forget_tokens(mailbox)
        self._note_removed(mailbox)

    def _delete(self, mailbox: Mailbox, keep: Callable[[str], bool]) -> bool:
        """Remove an account; returns whether it is gone. Reports files that stay."""
        try:
            with self._entries.deleting(mailbox):
                return (mailbox.delete(block=True) if mailbox.is_blocked()
                        else mailbox.delete(keep=keep))
        except StoreError as error:
            if mailbox.exists():
                raise
            self._problem(mailbox.home, error)
            return True

    def _foresee(self, mailbox: Mailbox) -> None:
        """Report, in a dry run, the problem that the removal of a mailbox would meet."""
        parent = os.path.dirname(mailbox.home)
        if not (os.access(parent, os.W_OK | os.X_OK, effective_ids=True)
                and directories.is_removable(mailbox.home)):
            self._problem(mailbox.home, StoreError(
                "something in it cannot be removed; see to whom it belongs"))

    def _no_account(self, mailbox: Mailbox, fd: int, deadlines: Deadlines) -> None:
        """Expire a mailbox without `password`: its mail by age, as everywhere, and then itself.

        An account appears in one step, so this is not one that is just being made. It still gets
        some time, for people who set one up by hand.
        """
        def made(moved: str) -> bool:
            return any(is_there(f"{moved}/{name}") for name in (PASSWORD, BLOCKED))

        changed = os.fstat(fd).st_mtime
        kept = self._expunger.mailbox(fd, mailbox.home, deadlines)
        if kept or changed >= self._now - ABANDONED_AFTER or not maildir.is_bare(fd):
            return
        if self._dry_run:
            self._foresee(mailbox)
        if self._dry_run or mailbox.delete(keep=made):
            self._gone(Reason.LEFTOVER, mailbox.home)
            self._note_removed(mailbox)

    def _forget_tokens(self, mailbox: Mailbox) -> None:
        """Delete the push tokens, so that the next owner does not ring the former one's phones."""
        if not self._dry_run:
            self._tokens.forget(mailbox.address)

    def _gone(self, reason: Reason, path: str) -> None:
        self.tally.removed[reason] += 1
        if self._note:
            directory, name = os.path.split(path)
            self._note(reason, directory, [name])
