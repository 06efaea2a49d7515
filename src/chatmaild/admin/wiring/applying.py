"""Carries out a plan as a whole, or undoes it as a whole.

The old files are saved on the disk before anything changes. So the next `wire` or `unwire` after
a kill puts them back.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from chatmaild.admin.servers import hosttool
from chatmaild.admin.wiring import editing, hostfiles, record as records
from chatmaild.admin.wiring.editing import Files
from chatmaild.admin.wiring.observation import INOTIFY, SYSCTL, UNITS, granted_inotify
from chatmaild.admin.wiring.record import Record
from chatmaild.admin.wiring.steps import Kind, Plan, Step, WiringError
from chatmaild.errors import ChatmaildError

PATIENCE = 120
"""Seconds for a server to check or to reload: `postfix check` walks through the whole queue."""

SYSTEMD_RUNS = "/run/systemd/system"
"""A directory that is there while systemd(1) is the init, see sd_booted(3)."""


def recover() -> list[str]:
    """Undo a change that was interrupted. Returns one line for each thing that had to stay."""
    record = records.load()
    if record.under_way is None:
        return []
    now = hostfiles.read(list(record.under_way))
    left = [path for path, content in now.items()
            if content not in (record.under_way[path], record.aim.get(path))]
    hostfiles.clean(record.under_way)
    hostfiles.write({path: content for path, content in record.under_way.items()
                     if path not in left})
    made = hostfiles.remove_empty(record.made)
    records.save(dataclasses.replace(record, under_way=None, aim={}, made=made))
    reload(record.under_way)
    return [f"{path}: changed after the interrupted run, so it stays as it is" for path in left]


def apply(plan: Plan, remaining: Callable[[], Plan]) -> None:
    """Carry out `plan` and reload both servers. `remaining` plans anew from the files on disk.

    Raises `ChatmaildError` after it has undone everything.
    """
    record = records.load()
    paths = _paths(plan.steps)
    now = hostfiles.read(paths)
    aim = editing.carry_out(now, plan.steps)
    final = _joined(record, plan, now, aim)
    _change(record, now, aim, final, lambda: _verify(remaining))
    _grant(plan)


def _paths(steps: tuple[Step, ...]) -> list[str]:
    """Return the files of `steps`; main.cf and master.cf always together."""
    found = dict.fromkeys(step.place for step in steps)
    for path in list(found):
        directory, _, name = path.rpartition("/")
        if name in ("main.cf", "master.cf"):
            found |= dict.fromkeys((f"{directory}/main.cf", f"{directory}/master.cf"))
    return list(found)


def _joined(record: Record, plan: Plan, now: Files, aim: Files) -> Record:
    """Return a record of all that was done, by earlier runs and by `plan`."""
    before = {**now, **record.before}
    changed = [path for path in now if path in record.after and now[path] != record.after[path]]
    if changed:     # somebody else was there: their changes have to stay
        undone, _ = editing.take_back(now, [s for s in record.steps if s.place in now])
        before |= {path: undone[path] for path in changed}
    steps = {_key(step): step for step in record.steps}
    for step in plan.steps:
        first = steps.get(_key(step))
        steps[_key(step)] = dataclasses.replace(step, was=first.was) if first else step
    inotify = record.inotify
    if inotify is None and any(step.place == SYSCTL for step in plan.steps):
        inotify = granted_inotify()
    return Record(before, {**record.after, **aim}, tuple(steps.values()), inotify)


def _key(step: Step) -> tuple[str, str | None]:
    """Identify what a step changes; a later step with the same key replaces it."""
    if step.kind in (Kind.FILE, Kind.LINE):
        return step.place, step.now if step.kind is Kind.LINE else None
    return step.place, step.name


def _change(record: Record, now: Files, aim: Files, final: Record,
            verify: Callable[[], None]) -> None:
    made = tuple(dict.fromkeys([*record.made, *hostfiles.missing_directories(aim)]))
    records.save(dataclasses.replace(record, under_way=now, aim=aim, made=made))
    try:
        hostfiles.write(aim)
        verify()
        reload(aim)
        records.save(dataclasses.replace(final, made=hostfiles.remove_empty(made)))
    except (ChatmaildError, OSError) as error:
        try:
            hostfiles.write(now)
            hostfiles.remove_empty(made)
            records.save(record)
        except (WiringError, OSError) as another:
            raise WiringError(f"{error}; taking it back failed too: {another}; the next chatmaild "
                              "wire --apply or unwire --apply does that first") from error
        with contextlib.suppress(ChatmaildError):
            reload(now)
        raise WiringError(f"{error}; everything was taken back") from error


def _verify(remaining: Callable[[], Plan]) -> None:
    """Verify that both servers accept their files and that nothing remains to be planned."""
    _ask(["postfix", "check"], "Postfix")
    _ask(["doveconf", "-n"], "Dovecot")
    plan = remaining()
    for obstacle in plan.obstacles:
        raise WiringError(f"{obstacle.place}: {obstacle.text}")
    for step in plan.steps:
        raise WiringError(f"{step.place}: {step.name or 'the file'} has no effect: "
                          "something later in the configuration sets it again")


def reload(paths: Iterable[str]) -> None:
    """Have both servers, if they run, read their files anew. Raises `WiringError`.

    Postfix comes last: that ends its connections to the old Dovecot, each of which would fail a
    login. `paths` are the files that changed; services of ours whose units are among them restart.
    The filter that asks one of them reads chatmaild.ini again, and keeps its SMTP sessions.
    """
    units = [os.path.basename(os.path.dirname(path)).removesuffix(".d")
             for path in paths if path.startswith(f"{UNITS}/")]
    if units and os.path.isdir(SYSTEMD_RUNS):
        _ask(["systemctl", "daemon-reload"], "systemd")
        _ask(["systemctl", "try-restart", *units], "systemd")
        _ask(["systemctl", "try-reload-or-restart", "chatmaild-filtermail-incoming.service"],
             "systemd")
    if _runs(["doveadm", "service", "status"]):
        _ask(["doveadm", "reload"], "Dovecot")
    if _runs(["postfix", "status"]):
        _ask(["postfix", "reload"], "Postfix")


def _runs(command: list[str]) -> bool:
    return hosttool.ask(command, command[0], WiringError).returncode == 0


def _ask(command: list[str], server: str) -> None:
    done = hosttool.ask(command, server, WiringError, timeout=PATIENCE)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise WiringError(f"{' '.join(command)}: "
                          + (lines[-1] if lines else "failed, the mail log says why"))


def _grant(plan: Plan) -> None:
    """Do at once what sysctl(8) does at the next boot; a container may not allow it."""
    for step in plan.steps:
        if step.place == SYSCTL and step.now:
            with contextlib.suppress(OSError):
                Path(INOTIFY).write_text(step.now.rpartition("=")[2].strip())


@dataclasses.dataclass(frozen=True)
class Return:
    """What `give_back` changes: the files before and after."""

    now: Files
    undone: Files
    left: list[str]
    """What stays, since somebody changed it; one line each."""

    def describe(self, record: Record) -> list[str]:
        """Return one line for each file."""
        def how(path: str) -> str:
            if self.undone[path] is None:
                return "removed"
            if self.now[path] is None and path not in record.before:
                return "written: our file with somebody's changes, which nothing reads"
            if self.undone[path] == record.before.get(path):
                return "as it was before"
            return "changed by somebody since: only our settings are taken out"
        return [f"{path}: {how(path)}" for path in sorted(self.undone)
                if self.undone[path] != self.now[path]]


def returning(record: Record) -> Return:
    """Return what `give_back` would do now."""
    now = hostfiles.read(list(record.after))
    same = {path: record.before[path] for path in now if now[path] == record.after[path]}
    undone, left = editing.take_back({**now, **same},
                                     [s for s in record.steps if s.place not in same])
    return Return(now | {path: None for path in undone if path not in now}, undone, left)


def give_back(ready: Callable[[], object]) -> list[str]:
    """Restore everything as it was before the first `apply`.

    `ready` is called straight before the servers read the files.
    Returns one line for each thing that stays because somebody has changed it. Raises
    `ChatmaildError` if nothing was given back.
    """
    record = records.load()
    found = returning(record)

    def verify() -> None:
        _check()
        ready()
    _change(record, found.now, found.undone, Record(), verify)
    if record.inotify is not None and granted_inotify() is not None:
        with contextlib.suppress(OSError):
            Path(INOTIFY).write_text(str(record.inotify))
    return found.left


def _check() -> None:
    _ask(["postfix", "check"], "Postfix")
    _ask(["doveconf", "-n"], "Dovecot")
