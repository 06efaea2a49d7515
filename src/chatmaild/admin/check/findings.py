"""The findings of `chatmaild check`: values that this room's modules make and `command` shows.

A check is a function from the observed host to findings. It touches nothing itself, so tests can
run it on the captured output of any Postfix or Dovecot.
"""

import dataclasses
import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How bad a finding is, from good to bad."""

    OK = "ok"
    WARNING = "warning"
    """Works, but the admin should know; does not fail the check."""
    UNSEEN = "unseen"
    """Could not be looked at, by this user for example, so nobody can say that all is well."""
    FAILURE = "failure"
    """Does not work, or not as it must."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    code: str
    """Stable name for programs, such as ``milter-missing``."""
    place: str
    """What was looked at: a file, a parameter, a service, a socket."""
    text: str
    """What was found there, one sentence."""
    cure: str = ""
    """The exact lines to write or to run, one or several; empty when there are none."""

    def as_dict(self) -> dict[str, str]:
        """Return the fields for ``--json``."""
        return dataclasses.asdict(self)


def ok(code: str, place: str, text: str) -> Finding:
    """Make a finding of `Level.OK`."""
    return Finding(Level.OK, code, place, text)


def warning(code: str, place: str, text: str, cure: str = "") -> Finding:
    """Make a finding of `Level.WARNING`."""
    return Finding(Level.WARNING, code, place, text, cure)


def unseen(code: str, place: str, text: str, cure: str = "") -> Finding:
    """Make a finding of `Level.UNSEEN`."""
    return Finding(Level.UNSEEN, code, place, text, cure)


def failure(code: str, place: str, text: str, cure: str = "") -> Finding:
    """Make a finding of `Level.FAILURE`."""
    return Finding(Level.FAILURE, code, place, text, cure)
