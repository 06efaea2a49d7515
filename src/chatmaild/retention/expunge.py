"""Removes from mailboxes what the rules no longer keep.

With ``dry_run`` it decides and reports the same, and changes nothing.
"""

import contextlib
import errno
import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

from chatmaild.disk import directories, maildir, maildirname
from chatmaild.retention import folders, rules
from chatmaild.retention.rules import Deadlines, Reason

ATTEMPTS = 3
"""How often a directory is read again because messages were renamed meanwhile (a flag was set)."""

AT_ONCE = 1024
"""Messages that trimming holds in memory."""

Note = Callable[[Reason, str, Sequence[str]], None]
"""Called with reason, directory and file names of what goes."""

Complaint = Callable[[str, Exception], None]
"""Called with a path that could not be dealt with."""


class _Place(NamedTuple):
    """An open directory with messages."""

    fd: int
    path: str
    folder: str
    kind: str
    """new, cur or tmp."""


class _Message(NamedTuple):
    """A message that counts against the quota. Messages sort in the order of trimming."""

    saved: float
    folder: str
    kind: str
    name: str
    size: int

    @property
    def hour(self) -> int:
        return int(self.saved) // 3600


class Tally:
    """Counts of what was found and removed."""

    def __init__(self) -> None:
        self.mailboxes = 0
        self.messages = 0
        """Looked at."""
        self.octets = 0
        """Of the messages removed, before compression."""
        self.removed: Counter[str] = Counter()
        """By `Reason`: messages, and whole mailboxes."""
        self.held_back: Counter[str] = Counter()
        """By domain: inactive accounts that stayed because logins are not being recorded."""
        self.problems = 0

    @property
    def expunged(self) -> int:
        """Messages removed."""
        removed = self.removed
        return removed[Reason.OLD] + removed[Reason.LARGE] + removed[Reason.QUOTA]

    def add(self, counts: Mapping[str, Any]) -> None:
        """Add the ``vars()`` of another tally."""
        for name, value in counts.items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
            else:
                getattr(self, name).update(value)


class Expunger:
    """Applies deadlines to mailboxes, one after another, and counts what it does."""

    def __init__(self, dry_run: bool, tally: Tally, note: Note | None, complain: Complaint):
        self.dry_run = dry_run
        self.tally = tally
        self._note = note
        self._complain = complain

    def mailbox(self, fd: int, path: str, deadlines: Deadlines) -> int:
        """Remove what is due from the open mailbox `fd`; `path` is its absolute name.

        Returns the number of messages that stay.
        """
        seen, expunged = self.tally.messages, self.tally.expunged
        octets = sum(
            self._expire(place, deadlines) for place in self._places(fd, path, self._complain))
        if deadlines.trim_above is not None and octets > deadlines.trim_above:
            self._trim(fd, path, deadlines)
        self._remove_folders(fd, path, deadlines)
        kept = self.tally.messages - seen - (self.tally.expunged - expunged)
        self._forget_indexes(fd, path, kept)
        return kept

    def forget_sizes(self, fd: int, path: str) -> None:
        """Remove the sums of Dovecot's Maildir++ quota, which are stale after a removal."""
        self._forget("maildirsize", fd, path)

    def _forget(self, name: str, fd: int, path: str) -> None:
        """Remove a file that Dovecot makes anew."""
        with contextlib.suppress(FileNotFoundError):
            if self.dry_run:
                os.stat(name, dir_fd=fd, follow_symlinks=False)
            else:
                os.unlink(name, dir_fd=fd)
            if self._note:
                self._note(Reason.STALE, path, [name])

    def _forget_indexes(self, fd: int, path: str, messages: int) -> None:
        """Remove Dovecot's index of each folder where it is out of proportion."""
        for name in ("", *maildir.folders(fd)):
            # Gone, a link, or unreadable: that was reported.
            with contextlib.suppress(OSError), directories.opened(name or ".", fd) as folder:
                for each in folders.overgrown_index(folder, messages):
                    self._forget(each, folder, f"{path}/{name}".rstrip("/"))

    def _remove_folders(self, fd: int, path: str, deadlines: Deadlines) -> None:
        """Remove folders that have been empty for as long as messages are kept.

        If there are too many folders, an hour is enough.
        """
        def gone(name: str) -> bool:
            try:
                if self.dry_run:
                    self._assert_removable(name, fd)
                elif not folders.remove(name, fd):
                    return False
            except OSError as error:
                self._complain(f"{path}/{name}", error)
                return False
            self.tally.removed[Reason.EMPTY] += 1
            if self._note:
                self._note(Reason.EMPTY, path, [name])
            return True

        removed = self.tally.removed[Reason.EMPTY]
        count = 1 + len(list(maildir.folders(fd)))
        folders.walk(fd, deadlines.empty(count), gone)
        if folders.has_endless_subscriptions(fd, count):
            self._forget(folders.SUBSCRIPTIONS, fd, path)
        if self.tally.removed[Reason.EMPTY] > removed and not self.dry_run:
            folders.forget_list(fd)

    @staticmethod
    def _assert_removable(name: str, parent: int) -> None:
        if not directories.is_removable(name, parent):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _places(self, mailbox: int, path: str, complain: Complaint) -> Iterator[_Place]:
        """Yield every directory with messages, open; report those that cannot be opened."""
        yield from self._kinds(mailbox, path, "", complain)
        for folder in list(maildir.folders(mailbox)):
            try:
                with directories.opened(folder, mailbox) as fd:
                    yield from self._kinds(fd, f"{path}/{folder}", folder, complain)
            except directories.GONE:
                continue
            except OSError as error:
                complain(f"{path}/{folder}", error)

    def _kinds(
        self, parent: int, parent_path: str, folder: str, complain: Complaint
    ) -> Iterator[_Place]:
        for kind in maildir.SUBDIRECTORIES:
            path = f"{parent_path}/{kind}"
            try:
                with directories.opened(kind, parent) as fd:
                    yield _Place(fd, path, folder, kind)
            except directories.GONE:
                continue
            except OSError as error:
                complain(path, error)

    def _expire(self, place: _Place, deadlines: Deadlines) -> int:
        """Remove messages by age; returns the remaining octets, an upper bound for the quota."""
        for _ in range(ATTEMPTS):
            count = octets = 0
            complete = True
            for names in maildir.files(place.fd):
                count += len(names)
                review = rules.review(names, place.kind == "cur", deadlines)
                octets += review.octets
                if review.old:
                    complete &= self._remove(Reason.OLD, place, review.old)
                if review.large:
                    complete &= self._remove(Reason.LARGE, place, review.large)
                for name in review.unclear:
                    message = self._look(place, name, deadlines.now)
                    if message is None:
                        complete = False
                        continue
                    octets += message.size
                    reason = self._due(message, deadlines)
                    if reason:
                        complete &= self._remove(reason, place, [name], message.size)
            if complete:
                break
        self.tally.messages += count
        return octets

    def _due(self, message: _Message, deadlines: Deadlines) -> Reason | None:
        return rules.judge(message.saved, message.size, message.kind == "cur", deadlines)

    def _look(self, place: _Place, name: str, now: int) -> _Message | None:
        """Look at a message whose name does not tell everything; None if it is gone."""
        now = max(now, int(time.time()))    # messages come while the run goes on
        try:
            info = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        size = maildirname.size(name)
        if not self.dry_run and info.st_mtime > now and (maildirname.saved(name) or 0) > now:
            # the clock was ahead at that time; without a new mtime it would stay until then
            with contextlib.suppress(OSError):
                os.utime(name, (now, now), dir_fd=place.fd, follow_symlinks=False)
        return _Message(
            saved=rules.clock(name, info.st_mtime, now), folder=place.folder, kind=place.kind,
            name=name, size=info.st_size if size is None else size,
        )

    def _remove(
        self, reason: Reason, place: _Place, names: Sequence[str], octets: int | None = None
    ) -> bool:
        """Remove files; False if one was no longer there. `octets`: None if the names tell."""
        removed, complete = self._unlink(place, names)
        if removed:
            self.tally.removed[reason] += len(removed)
            self.tally.octets += maildirname.total_size(removed) if octets is None else octets
            if self._note:
                self._note(reason, place.path, removed)
        return complete

    def _unlink(self, place: _Place, names: Sequence[str]) -> tuple[Sequence[str], bool]:
        """Unlink files. Returns those removed, and whether all of them were there."""
        if self.dry_run:
            if os.access(".", os.W_OK | os.X_OK, dir_fd=place.fd, effective_ids=True):
                return names, True
            error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._complain(f"{place.path}/{names[0]}", error)
            return [], True
        removed = []
        complete, complained = True, False
        fd, unlink = place.fd, os.unlink
        for name in names:
            try:
                unlink(name, dir_fd=fd)
            except FileNotFoundError:
                complete = False
            except OSError as error:
                if not complained:  # most likely the others fail likewise
                    complained = True
                    self._complain(f"{place.path}/{name}", error)
            else:
                removed.append(name)
        return removed, complete

    def _trim(self, fd: int, path: str, deadlines: Deadlines) -> None:
        """If the mailbox has over `trim_above` octets, remove the oldest until it has `trim_to`.

        Sums up octets by the hour and reads the mailbox a few times, so that even millions of
        messages take little memory. Whole hours go first, then single messages of the next hour.
        """
        total = 0
        hours: Counter[int] = Counter()
        for message in self._messages(fd, path, deadlines):
            total += message.size
            if message.saved < deadlines.spared:
                hours[message.hour] += message.size
        if total <= (deadlines.trim_above or 0):
            return
        excess = total - deadlines.trim_to
        whole = set()
        for hour in sorted(hours):
            if excess <= 0 or hours[hour] > excess:
                break
            whole.add(hour)
            excess -= hours[hour]
        else:
            excess = 0  # nothing else may go
        self._remove_messages(fd, path, (
            message for message in self._messages(fd, path, deadlines)
            if message.hour in whole and message.saved < deadlines.spared))
        if excess > 0:
            self._trim_hour(fd, path, deadlines, hour, excess)

    def _trim_hour(
        self, fd: int, path: str, deadlines: Deadlines, hour: int, excess: int
    ) -> None:
        """Remove the oldest messages of one hour until `excess` octets are gone."""
        last: _Message | None = None
        while excess > 0:
            oldest = heapq.nsmallest(AT_ONCE, (
                message for message in self._messages(fd, path, deadlines)
                if message.hour == hour and message.saved < deadlines.spared
                and (last is None or message > last)
            ))
            if not oldest:
                return
            last = oldest[-1]
            due = []
            for message in oldest:
                if excess <= 0:
                    break
                due.append(message)
                excess -= message.size
            self._remove_messages(fd, path, due)

    def _remove_messages(self, fd: int, path: str, messages: Iterable[_Message]) -> None:
        for (folder, kind), group in groupby(messages, lambda each: (each.folder, each.kind)):
            place_path = f"{path}/{folder}/{kind}" if folder else f"{path}/{kind}"
            with directories.opened(folder or ".", fd) as parent:
                with directories.opened(kind, parent) as place:
                    while within := list(islice(group, AT_ONCE)):
                        self._remove(Reason.QUOTA, _Place(place, place_path, folder, kind),
                                     [message.name for message in within],
                                     sum(message.size for message in within))

    def _messages(self, fd: int, path: str, deadlines: Deadlines) -> Iterator[_Message]:
        """Yield the messages that count against the quota and are not due anyway."""
        for place in self._places(fd, path, lambda path, error: None):
            if place.kind == "tmp":
                continue
            for names in maildir.files(place.fd):
                for name in names:
                    saved, size = maildirname.saved(name), maildirname.size(name)
                    if saved is None or size is None or saved > deadlines.now:
                        message = self._look(place, name, deadlines.now)
                    else:
                        message = _Message(saved, place.folder, place.kind, name, size)
                    if message and not self._due(message, deadlines):
                        yield message
