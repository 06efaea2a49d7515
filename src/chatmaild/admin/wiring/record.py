"""Keeps what `wire` did to this host until `unwire` has undone it."""

import base64
import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chatmaild.admin.wiring import editing
from chatmaild.admin.wiring.editing import Files
from chatmaild.admin.wiring.steps import Kind, Step, WiringError
from chatmaild.disk import atomic

DIRECTORY = "/var/lib/chatmaild/wiring"
PATIENCE = 60.0
"""Seconds to wait for another `wire` or `unwire`."""


@dataclass(frozen=True)
class Record:
    """The host's files before and after, and each step in between."""

    before: Files = field(default_factory=dict)
    after: Files = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    inotify: int | None = None
    """What the kernel granted before."""
    under_way: Files | None = None
    """The files as they were when a change began that has not ended; None at other times."""
    aim: Files = field(default_factory=dict)
    """What that change writes."""
    made: tuple[str, ...] = ()
    """Directories that were not there before."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to give back."""
        return not self.steps and self.under_way is None


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep others from changing the wiring meanwhile. Raises `WiringError` or `StoreError`.

    What a killed run left of its record and of its copies of main.cf is removed. An OSError of what
    is done meanwhile, such as a full disk, is raised as a `WiringError`.
    """
    try:
        os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    except OSError as error:
        raise WiringError(f"{DIRECTORY}: {error.strerror}; run as root") from None
    try:
        with atomic.locked(DIRECTORY, PATIENCE):
            atomic.remove_unfinished(DIRECTORY)
            editing.remove_unfinished()
            yield
    except OSError as error:
        raise WiringError(f"{error.filename or DIRECTORY}: {error.strerror}") from error


def load() -> Record:
    """Return the record; an empty one if there is none. Raises `WiringError` if unreadable."""
    path = f"{DIRECTORY}/record.json"
    try:
        with open(path, encoding="ascii") as file:
            document = json.load(file)
        return Record(
            before=_decode(document["before"]), after=_decode(document["after"]),
            steps=tuple(_step(step) for step in document["steps"]),
            inotify=document["inotify"], aim=_decode(document["aim"]),
            under_way=None if document["under_way"] is None else _decode(document["under_way"]),
            made=tuple(document.get("made", ())),   # a record of before has none
        )
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WiringError(f"{path}: {error}") from None


def save(record: Record) -> None:
    """Save `record`, durably when this returns. An empty one leaves no file. Raises `WiringError`.
    """
    path = f"{DIRECTORY}/record.json"
    if record.is_empty:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    document = {
        "before": _encode(record.before), "after": _encode(record.after),
        "steps": [dataclasses.asdict(step) for step in record.steps],
        "inotify": record.inotify, "aim": _encode(record.aim),
        "under_way": None if record.under_way is None else _encode(record.under_way),
        "made": list(record.made),
    }
    try:
        atomic.write_file(path, json.dumps(document, indent=1).encode("ascii"), 0o600)
    except OSError as error:
        raise WiringError(f"{path}: {error.strerror}") from error


def _encode(files: Files) -> dict[str, str | None]:
    return {path: None if content is None else base64.b64encode(content).decode()
            for path, content in files.items()}


def _decode(files: dict[str, str | None]) -> Files:
    return {path: None if content is None else base64.b64decode(content)
            for path, content in files.items()}


def _step(document: dict[str, Any]) -> Step:
    return Step(Kind(document["kind"]), document["place"], document["name"], document["was"],
                document["now"], document["why"], tuple(document["cures"]))
