"""Records how and when `chatmaild expire` last ended, for `report` and `check`.

The record is a small file in mailboxes_dir, ``.expire.json``, written after each run but dry ones.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from chatmaild.config.config import Config
from chatmaild.disk import atomic
from chatmaild.errors import StoreError

OVERDUE_AFTER = 2 * 86_400
"""Seconds since the last good run after which an admin has to look."""

LONGEST_GAP = 7 * 86_400
"""Seconds between two runs; a longer gap is a host that was off, or a clock that jumped."""

DOUBT = 12 * 3600
"""Seconds for which a clock that jumped is doubted; less than from one day's run to the next."""


@dataclass(frozen=True)
class LastRun:
    """The record of the last run. Times are seconds since the epoch."""

    finished: int
    good: int | None
    """When the last run without any problem ended; None: there was none yet."""
    problems: int
    """Number of problems in the last run; the log names each."""
    held_back: Mapping[str, int]
    """Domain -> inactive accounts that stayed because no logins are being recorded there."""
    doubted: int | None = None
    """When a run did nothing because the clock seems to have jumped; None: the last one worked."""
    removed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Removals in the last run, by `rules.Reason`."""

    def seems_jumped(self, now: int) -> bool:
        """Whether to doubt the clock at `now`: there was no run for `LONGEST_GAP` seconds.

        The clock is believed again `DOUBT` seconds after the first doubt.
        """
        if now - self.finished <= LONGEST_GAP:
            return False
        return self.doubted is None or not DOUBT <= now - self.doubted <= LONGEST_GAP


def is_overdue(config: Config, last: LastRun | None, now: float) -> bool:
    """Whether an admin has to look, because no run has succeeded for too long.

    Before the first run the time counts from the installation: the last change of mailboxes_dir.
    """
    if last is None:
        with contextlib.suppress(OSError):
            return now - os.stat(config.mailboxes_dir).st_mtime > OVERDUE_AFTER
    return last is None or last.good is None or now - last.good > OVERDUE_AFTER


def path(config: Config) -> str:
    """Return the path of the record."""
    return f"{config.mailboxes_dir}/.expire.json"


def load(config: Config) -> LastRun | None:
    """Return the last run; None if there was none. Raises `StoreError`."""
    try:
        with open(path(config), "rb") as file:
            return LastRun(**json.load(file))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path(config)}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise StoreError(f"{path(config)}: not readable as JSON of ours; the next run of "
                         "chatmaild expire replaces it") from None


def save(config: Config, run: LastRun) -> None:
    """Write the record. Only one run at a time may call this. Raises `StoreError`.

    The temporary file always has the same name, so that kills leave at most one.
    """
    content = json.dumps(asdict(run)).encode() + b"\n"
    new = f"{path(config)}.new"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        atomic.write_new_file(new, content, mode=0o640)
        os.rename(new, path(config))
    except OSError as error:
        raise StoreError(f"{path(config)}: {error.strerror}") from None
