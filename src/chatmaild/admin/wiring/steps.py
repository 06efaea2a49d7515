"""The changes of `wire` as values: one step for each setting or file, and the obstacles."""

import dataclasses
import enum
from dataclasses import dataclass

from chatmaild.errors import ChatmaildError


class WiringError(ChatmaildError):
    """The wiring cannot be changed, or the change was undone."""


class Kind(enum.StrEnum):
    """What a step changes."""

    PARAMETER = "parameter"
    """A ``name = value`` of main.cf."""
    SERVICE = "service"
    """A line of master.cf, without its options."""
    OPTION = "option"
    """An ``-o name=value`` of a service of master.cf."""
    LINE = "line"
    """One line in a file of the host; `Step.name` says where: ``first`` or ``last``."""
    FILE = "file"
    """A whole file, which is ours."""


@dataclass(frozen=True)
class Step:
    """One change. `was` is None if there was nothing before, `now` if nothing is left."""

    kind: Kind
    place: str
    """The file."""
    name: str
    """The parameter, ``smtp/inet``, ``smtp/inet/smtpd_milters``; "" for a file."""
    was: str | None
    now: str | None
    why: str
    cures: tuple[str, ...] = ()
    """Codes of the findings of `chatmaild check` that it mends."""

    def as_dict(self) -> dict[str, object]:
        """Return the fields for ``--json``."""
        return dataclasses.asdict(self)

    def describe(self) -> list[str]:
        """Return lines for people: what changes, then the old and the new value."""
        if self.kind is Kind.FILE:
            what = "written" if self.was is None else "replaced"
            return [f"{self.place}: {what if self.now is not None else 'removed'}"]
        if self.kind is Kind.LINE:
            return [f"{self.place}: + {self.now}"]
        lines = [f"{self.place}: {self.name}"]
        if self.was:
            lines.append(f"  was  {self.was}")
        lines.append("  now  " + ("(not set)" if self.now is None else self.now or "(empty)"))
        return lines


@dataclass(frozen=True)
class Obstacle:
    """Something that `wire` cannot do right, and the line in its way."""

    place: str
    text: str
    way_out: str


@dataclass(frozen=True)
class Plan:
    """Everything that `wire` would do on an observed host."""

    steps: tuple[Step, ...]
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()
    """Further remarks for people, one sentence each."""

    def of(self, place: str) -> list[Step]:
        """Return the steps on the file `place`."""
        return [step for step in self.steps if step.place == place]

    def curing(self, code: str) -> list[Step]:
        """Return the steps that mend the finding of `check` with this `code`."""
        return [step for step in self.steps if code in step.cures]


def same_settings(one: str, other: str) -> bool:
    """Whether two files of settings differ by nothing but comments and white space."""
    return _settings(one) == _settings(other)


def _settings(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()
            and not line.lstrip().startswith("#")]
