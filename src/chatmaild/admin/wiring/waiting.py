"""Puts on hold what waits in Postfix's queues for chat users.

Without our wiring Postfix has no way to them, so it would bounce.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chatmaild.admin.servers import hosttool, postconf
from chatmaild.admin.wiring import observation, record
from chatmaild.admin.wiring.steps import WiringError
from chatmaild.console import counted
from chatmaild.disk import atomic


@dataclass(frozen=True)
class Waiting:
    """The messages to chat users in the queue of one instance of Postfix.

    What somebody else has put on hold is not among them.
    """

    directory: str
    """The instance's, with main.cf."""
    ids: tuple[str, ...]
    with_others: int
    """How many of them wait for other recipients as well."""

    @property
    def path(self) -> str:
        """The file with the ids of those on hold, a line each."""
        return f"{record.DIRECTORY}/held{self.directory.replace('/', '-')}"

    def as_dict(self) -> dict[str, object]:
        """Return the fields for ``--json``."""
        return {"postfix": self.directory, "messages": len(self.ids),
                "with_others": self.with_others, "list": self.path}

    def describe(self, are_held: bool) -> Iterator[str]:
        """Yield lines for people."""
        messages = f"{counted(len(self.ids), 'message')} to chat users"
        if self.with_others:
            messages += f" ({self.with_others:,} with other recipients, who wait as well)"
        if not are_held:
            yield f"{self.directory}: put on hold, since Postfix would bounce it: {messages}"
            return
        yield f"{self.directory}: on hold: {messages}"
        yield f"  once wired again: postsuper -c {self.directory} -H - <{self.path}"
        yield f"  or, for good:     postsuper -c {self.directory} -d - <{self.path}"


def look(domains: Iterable[str]) -> list[Waiting]:
    """Return what waits for users of `domains` in each instance that has any.

    Raises `PostfixError` or `WiringError`.
    """
    own = postconf.run(["postconf", "-h", "config_directory"]).strip()
    found = [_look(directory, frozenset(domains))
             for directory in [own, *observation.other_instances(own)]]
    return [waiting for waiting in found if waiting.ids]


def hold(domains: Iterable[str]) -> list[Waiting]:
    """Put it on hold, and return what is. Raises `PostfixError` or `WiringError`, and OSError."""
    found = look(domains)
    for waiting in found:
        atomic.write_file(waiting.path, "".join(f"{name}\n" for name in waiting.ids).encode())
        _postsuper(waiting, "-h")
    return found


def release(domains: Iterable[str]) -> None:
    """Let it be delivered after all. Raises as `hold` does."""
    for waiting in look(domains):
        _postsuper(waiting, "-H")
        Path(waiting.path).unlink(missing_ok=True)


def _look(directory: str, domains: frozenset[str]) -> Waiting:
    held = _held(Waiting(directory, (), 0))
    found = {}      # by id: one that moves from queue to queue meanwhile may be there twice
    for line in postconf.run(["postqueue", "-c", directory, "-j"]).split("\n"):
        message = json.loads(line or "null")
        if not message or message["queue_name"] == "hold" and message["queue_id"] not in held:
            continue
        are_chat = {recipient["address"].rpartition("@")[2].lower() in domains
                    for recipient in message["recipients"]}
        if True in are_chat:
            found[message["queue_id"]] = False in are_chat
    return Waiting(directory, tuple(found), sum(found.values()))


def _held(waiting: Waiting) -> frozenset[str]:
    """Return the ids of what an earlier run has put on hold."""
    try:
        return frozenset(Path(waiting.path).read_text().split())
    except FileNotFoundError:
        return frozenset()


def _postsuper(waiting: Waiting, action: str) -> None:
    done = hosttool.ask(["postsuper", "-c", waiting.directory, action, "-"], "Postfix", WiringError,
                        told="".join(f"{name}\n" for name in waiting.ids))
    if done.returncode:
        raise WiringError(f"postsuper {action}: {done.stderr.strip()}")
