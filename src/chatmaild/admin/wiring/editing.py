"""Applies steps to the text of files, and undoes them.

postconf(1) edits main.cf and master.cf, on a copy, so that everything else in them stays.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from chatmaild.admin.servers import postconf
from chatmaild.admin.servers.postconf import split
from chatmaild.admin.wiring.steps import Kind, Step

Files = dict[str, bytes | None]
"""Content by path; None for a file that is not there."""

_COPY = "chatmaild-wiring-"


def carry_out(files: Files, steps: Iterable[Step]) -> Files:
    """Return `files` with `steps` applied. Raises `PostfixError` if postconf refuses one."""
    done = dict(files)
    steps = list(steps)
    for step in steps:
        if step.kind is Kind.FILE:
            done[step.place] = _encode(step.now)
        elif step.kind is Kind.LINE:
            done[step.place] = _with_line(done[step.place] or b"", step)
    for directory in _directories(steps):
        with _Copy(done, directory) as copy:
            for step in copy.of(steps):
                copy.put(step)
    return done


def take_back(files: Files, steps: Iterable[Step]) -> tuple[Files, list[str]]:
    """Return `files` without `steps`, and one line for each step that somebody changed since."""
    done = dict(files)
    steps = list(steps)
    left: list[str] = []
    for step in steps:
        content = done.get(step.place)
        if step.kind is Kind.FILE:
            if content in (_encode(step.now), None):
                done[step.place] = _encode(step.was)
            else:
                done[f"{step.place}.changed"] = content
                done[step.place] = _encode(step.was)
                left.append(f"{step.place}: changed since; kept as {step.place}.changed")
        elif step.kind is Kind.LINE and content:
            done[step.place] = b"".join(line for line in content.splitlines(keepends=True)
                                        if line.rstrip(b"\r\n") != _encode(step.now))
    for directory in _directories(steps):
        with _Copy(done, directory) as copy:
            # a reference to a parameter has to go before the parameter
            backwards = reversed(copy.of(steps))
            for step in sorted(backwards, key=lambda step: step.kind is Kind.PARAMETER):
                left += copy.undo(step)
    return done, left


def remove_unfinished() -> None:
    """Remove the copies of main.cf that killed runs left. No other run may be under way.

    Raises OSError if the directory for temporary files cannot be read.
    """
    for entry in list(os.scandir(tempfile.gettempdir())):
        if entry.name.startswith(_COPY) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
            shutil.rmtree(entry.path, ignore_errors=True)


def _encode(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _with_line(content: bytes, step: Step) -> bytes:
    """Put the line before the first database, included file, or block with such, or at the end."""
    line = (_encode(step.now) or b"") + b"\n"
    if step.name == "first":
        at = _first_database(content)
        return content[:at] + line + content[at:] if at is not None else _ended(content) + line
    return _ended(content) + line


def _ended(content: bytes) -> bytes:
    return content + (b"" if not content or content.endswith(b"\n") else b"\n")


def _first_database(content: bytes) -> int | None:
    """Return where the statement begins, at the top level, that is or has a database or include."""
    depth = position = begin = 0
    for line in content.splitlines(keepends=True):
        text = line.split(b" #")[0].strip()
        if depth == 0:
            begin = position
        if re.match(rb"(passdb|userdb|!include(_try)?)\b", text):
            return begin
        if not text.startswith(b"#"):
            depth += text.endswith(b"{") - (text == b"}")
        position += len(line)
    return None


def _directories(steps: Iterable[Step]) -> list[str]:
    return list(dict.fromkeys(step.place.rpartition("/")[0] for step in steps
                              if step.kind not in (Kind.FILE, Kind.LINE)))


class _Copy:
    """A copy of main.cf and master.cf of one directory, for postconf to edit."""

    def __init__(self, files: Files, directory: str):
        self._files, self._directory = files, directory

    def __enter__(self) -> "_Copy":
        self._temporary = tempfile.TemporaryDirectory(prefix=_COPY)
        for name in ("main.cf", "master.cf"):
            content = self._files[f"{self._directory}/{name}"] or b""
            if content and not content.endswith(b"\n"):     # postconf would add to its last line
                content += b"\n"
            Path(self._temporary.name, name).write_bytes(content)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            for name in ("main.cf", "master.cf"):
                path = f"{self._directory}/{name}"
                content = Path(self._temporary.name, name).read_bytes()
                self._files[path] = content
        self._temporary.cleanup()

    def of(self, steps: Iterable[Step]) -> list[Step]:
        return [step for step in steps if step.kind not in (Kind.FILE, Kind.LINE)
                and step.place.rpartition("/")[0] == self._directory]

    def postconf(self, *arguments: str) -> str:
        return postconf.run(["postconf", "-c", self._temporary.name, *arguments])

    def put(self, step: Step) -> None:
        if step.kind is Kind.PARAMETER:
            self.postconf("-e", f"{step.name}={step.now}")
        elif step.kind is Kind.SERVICE:
            self.postconf("-M", f"{step.name}={step.now}")
        elif step.now is None:
            self.postconf("-PX", step.name)
        else:
            self.postconf("-P", f"{step.name}={step.now}")

    def undo(self, step: Step) -> list[str]:
        """Restore the old value; complain if the present one is no longer ours."""
        holds = self._holds(step)
        if holds is None:
            if step.now is None and step.was is not None:
                self._set(step, step.was)
            return []
        wanted = step.was
        if _folded(holds) != _folded(step.now or ""):
            wanted = _without_ours(step, holds)
            if wanted is None:
                return [f"{step.place}: {step.name} = {holds}: changed since, so it stays"]
        elif step.kind is Kind.PARAMETER and self._is_needed(step.name):
            return [f"{step.place}: {step.name} stays, since another line refers to it"]
        self._set(step, wanted)
        return []

    def _holds(self, step: Step) -> str | None:
        if step.kind is Kind.PARAMETER:
            text = Path(self._temporary.name, "main.cf").read_text(errors="surrogateescape")
            return postconf.parse_main(text).get(step.name)
        if step.kind is Kind.SERVICE:
            line = " ".join(self.postconf("-M", step.name).split())
            return line.partition(" -o ")[0] or None
        return postconf.parse_parameters(self.postconf("-P")).get(step.name)

    def _set(self, step: Step, wanted: str | None) -> None:
        flag = {Kind.PARAMETER: "", Kind.SERVICE: "M", Kind.OPTION: "P"}[step.kind]
        if wanted is None:
            self.postconf(f"-{flag}X", step.name)
        else:
            self.postconf(f"-{flag}e", f"{step.name}={wanted}")

    def _is_needed(self, name: str) -> bool:
        if not name.startswith("chat_"):
            return False
        text = "".join(Path(self._temporary.name, file).read_text(errors="surrogateescape")
                       for file in ("main.cf", "master.cf"))
        return re.search(rf"^[^#].*\$[({{]?{name}\b", text, re.MULTILINE) is not None


def _folded(value: str) -> str:
    return " ".join(value.split())


def _without_ours(step: Step, holds: str) -> str | None:
    """Return a list that somebody has changed, without the words that we added.

    None if it is not a list, or not one of ours with words added.
    """
    before, after, words = split(step.was or ""), split(step.now or ""), split(holds)
    ours = [word for word in after if word not in before]
    added = ours and all(word in after for word in before) and all(word in words for word in ours)
    if step.kind is Kind.SERVICE or not added:
        return None
    return ", ".join(word for word in words if word not in ours)
