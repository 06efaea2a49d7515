"""What `wire` would change, as values: one step a setting or file, and what stands in the way."""

import dataclasses
import enum
from dataclasses import dataclass

from chatmaild.errors import ChatmaildError


class WiringError(ChatmaildError):
    """The wiring cannot be changed, or was taken back."""


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
    """One change. `was` and `now` are None where there is nothing, or nothing any more."""

    kind: Kind
    place: str
    """The file."""
    name: str
    """The parameter, ``smtp/inet``, ``smtp/inet/smtpd_milters``; "" for a file."""
    was: str | None
    now: str | None
    why: str
    cures: tuple[str, ...] = ()
    """Codes of `chatmaild check` that it puts right."""

    def as_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)

    def describe(self) -> list[str]:
        """The lines for a person: what, then from what to what."""
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
    """What `wire` cannot do right, and the line that stands in the way."""

    place: str
    text: str
    way_out: str


@dataclass(frozen=True)
class Plan:
    """Everything that `wire` would do on a host as it was observed."""

    steps: tuple[Step, ...]
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know beside it."""

    def of(self, place: str) -> list[Step]:
        return [step for step in self.steps if step.place == place]

    def curing(self, code: str) -> list[Step]:
        """The steps that put right what `check` calls `code`."""
        return [step for step in self.steps if code in step.cures]
