"""Decides what is kept and for how long: which messages and accounts go, what a full mailbox loses.

Pure: names, sizes and times come in, decisions go out.
"""

import dataclasses
import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chatmaild.config.config import DomainConfig
from chatmaild.disk import maildirname

HOUR = 3_600
DAY = 24 * HOUR
"""Seconds."""

LARGE = 200_000
"""Octets; a message in cur/ that is larger goes after `delete_large_after` days."""

TRIM_ABOVE, TRIM_TO = 80, 70
"""Per cent of max_mailbox_size: a mailbox above the first is trimmed to the second."""

LOGIN_SEEN_WITHIN = 7 * DAY
"""Seconds; if nobody in a domain logged in for longer, logins are no longer recorded."""

ABANDONED_AFTER = DAY
"""Seconds after which a mailbox without account and without mail is a leftover."""

MAX_NOW = 10**10 - 1
"""The last second that ten digits can name."""


class Reason(enum.StrEnum):
    """Why something is removed; the word precedes its path in reports."""

    OLD = "old"
    LARGE = "large"
    QUOTA = "quota"
    INACTIVE = "inactive"
    LEFTOVER = "leftover"
    """What a killed process left, or a mailbox without an account and without mail."""
    EMPTY = "empty"
    """A folder that has had no messages for as long as messages are kept."""
    STALE = "stale"
    """A file of sums, or a list, that is no longer right; Dovecot makes it again."""


@dataclass(frozen=True)
class Deadlines:
    """The rules of one domain at one moment, in seconds since the epoch and in octets."""

    now: int
    old: int
    """A message saved before this goes."""
    large: int
    """A large message in cur/ saved before this goes."""
    inactive: int
    """An account whose last login lies before this goes."""
    trim_above: int | None
    """A mailbox with more octets than this is trimmed; None: there is no quota."""
    trim_to: int
    max_folders: int
    """A mailbox with more of them, INBOX included, loses those that are empty at once."""

    @classmethod
    def of(cls, domain: DomainConfig, now: int) -> "Deadlines":
        """Work out the deadlines by the settings of `domain`; `now` in seconds since the epoch."""
        quota = domain.max_mailbox_size
        return cls(
            now=now,
            old=now - domain.delete_mails_after * DAY,
            large=now - domain.delete_large_after * DAY,
            inactive=now - domain.delete_inactive_users_after * DAY,
            trim_above=quota * TRIM_ABOVE // 100 if quota else None,
            trim_to=quota * TRIM_TO // 100,
            max_folders=domain.max_mailbox_folders,
        )

    def with_quota(self, octets: int) -> "Deadlines":
        """Return the same, except that a mailbox over `octets` is trimmed to just that."""
        return dataclasses.replace(self, trim_above=octets, trim_to=octets)

    def empty(self, folders: int) -> int:
        """Return the time before which an empty folder must have changed last to be removed.

        It depends on how many folders the mailbox has.
        """
        return self.now - HOUR if folders > self.max_folders else self.old

    @property
    def spared(self) -> int:
        """The time from which on saved messages are not trimmed for quota."""
        return self.now - DAY


class LoginTrace(enum.Enum):
    """What one account shows about whether logins are being recorded."""

    NOTHING = enum.auto()
    LOGIN = enum.auto()
    """A login was recorded lately."""
    MADE_TODAY = enum.auto()
    """The account is new, which counts as a login, but none can have followed yet."""
    NEVER_SEEN_AGAIN = enum.auto()
    """The account is days old and no login was recorded after the one that made it."""


def login_trace(last_login: float, made: float | None, now: int) -> LoginTrace:
    """Judge an account by its recorded `last_login` and when it was `made`, None if unknown."""
    if last_login < now - LOGIN_SEEN_WITHIN:
        return LoginTrace.NOTHING
    if made is None or last_login != made // DAY * DAY:
        return LoginTrace.LOGIN
    return LoginTrace.MADE_TODAY if made > now - DAY else LoginTrace.NEVER_SEEN_AGAIN


def logins_are_recorded(traces: Iterable[LoginTrace]) -> bool:
    """Whether a domain's last logins can be believed, from the evidence of its accounts.

    If logins are no longer recorded, people who log in daily look like people who left. Then only
    new accounts have a recent time, and it never changes.
    """
    made_today = never_seen_again = False
    for trace in traces:
        if trace is LoginTrace.LOGIN:
            return True
        made_today |= trace is LoginTrace.MADE_TODAY
        never_seen_again |= trace is LoginTrace.NEVER_SEEN_AGAIN
    return made_today and not never_seen_again


def clock(name: str, mtime: float, now: int) -> float:
    """Return when the retention of a message began, in seconds since the epoch.

    That is the time in its name; for a foreign name, or a time after `now`, it is the file's mtime,
    and at most `now`. No file may have come after `now`.
    """
    saved = maildirname.saved(name)
    return min(mtime, now) if saved is None or saved > now else saved


def judge(saved: float, size: int, in_cur: bool, deadlines: Deadlines) -> Reason | None:
    """Return why a message is removed by age; None if it stays."""
    if saved < deadlines.old:
        return Reason.OLD
    if in_cur and size > LARGE and saved < deadlines.large:
        return Reason.LARGE
    return None


class Review(NamedTuple):
    """The decisions from the names in one directory, without a look at the files."""

    old: list[str]
    large: list[str]
    unclear: list[str]
    """Those whose name does not tell time and size, or tells a time in the future."""
    octets: int
    """Of all messages together, as far as the names say."""


def review(names: Sequence[str], in_cur: bool, deadlines: Deadlines) -> Review:
    """Sort the messages of one directory by `judge`, many at once."""
    sizes = maildirname.sizes(names)
    if sizes is None:
        return _review_each(names, in_cur, deadlines)
    first, future = f"{deadlines.old:010d}", f"{deadlines.now + 1:010d}"
    outside = [name for name in names if not first <= name < future]
    large: list[str] = []
    if in_cur and sizes and max(sizes) > LARGE:
        before = f"{deadlines.large:010d}"
        large = [name for name, size in zip(names, sizes)
                 if size > LARGE and first <= name < before]
    return Review(
        old=[name for name in outside if name < first],
        large=large,
        unclear=[name for name in outside if name >= future],
        octets=sum(sizes),
    )


def _review_each(names: Sequence[str], in_cur: bool, deadlines: Deadlines) -> Review:
    review = Review([], [], [], 0)
    octets = 0
    for name in names:
        saved, size = maildirname.saved(name), maildirname.size(name)
        octets += size or 0
        if saved is None or size is None or saved > deadlines.now:
            review.unclear.append(name)
            continue
        reason = judge(saved, size, in_cur, deadlines)
        if reason:
            (review.old if reason is Reason.OLD else review.large).append(name)
    return review._replace(octets=octets)
