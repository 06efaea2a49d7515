"""Makes the steps on Postfix that are still needed."""

import re
from collections.abc import Iterator

from chatmaild.admin.wiring.observation import Host
from chatmaild.admin.wiring.steps import Kind, Step


def identifier(service: str) -> str:
    """Return a name for a service, such as ``smtp/inet``, that may be part of a parameter's name.
    """
    return re.sub(r"\W+", "_", service.rpartition("/")[0]).strip("_").lower()


class Changes:
    """The steps so far on one instance. Several rules may ask for a step; it is made once."""

    def __init__(self, host: Host):
        self.host = host
        self.made: list[Step] = []

    def parameter(self, name: str, value: str, why: str,
                  cures: tuple[str, ...] = ()) -> Iterator[Step]:
        """Set a parameter of main.cf, unless it has the value."""
        was = self.host.main.get(name)
        holds = was if was is not None else self.host.defaults.get(name)
        yield from self._make(Kind.PARAMETER, self.host.main_cf, name, was, holds, value, why,
                              cures)

    def option(self, service: str, name: str, value: str, why: str,
               cures: tuple[str, ...] = ()) -> Iterator[Step]:
        """Set an ``-o`` option of a service in master.cf, unless it has the value.

        postconf(1) takes no blanks there, so a value with blanks gets a parameter of its own.
        """
        if len(value.split()) > 1:
            parameter = f"chat_{identifier(service)}_{name}"
            yield from self.parameter(parameter, value, why, cures)
            value = f"${parameter}"
        was = self.host.options.get(service, {}).get(name)
        yield from self._make(Kind.OPTION, self.host.master_cf, f"{service}/{name}", was, was,
                              value, why, cures)

    def no_option(self, service: str, name: str, ours: str, why: str) -> Iterator[Step]:
        """Remove the option if it has the value `ours`."""
        if self.host.options.get(service, {}).get(name) == ours:
            step = Step(Kind.OPTION, self.host.master_cf, f"{service}/{name}", ours, None, why)
            self.made.append(step)
            yield step

    def service(self, name: str, line: str, why: str,
                cures: tuple[str, ...] = ()) -> Iterator[Step]:
        """Write a line of master.cf, unless it is there."""
        was = self.host.lines.get(name)
        yield from self._make(Kind.SERVICE, self.host.master_cf, name, was, was, line, why, cures)

    def _make(self, kind: Kind, place: str, name: str, was: str | None, holds: str | None,
              value: str, why: str, cures: tuple[str, ...]) -> Iterator[Step]:
        value = " ".join(value.split())
        if holds is not None and " ".join(holds.split()) == value:
            return
        if any(step.place == place and step.name == name for step in self.made):
            return
        step = Step(kind, place, name, was, value, why, cures)
        self.made.append(step)
        yield step
