"""A test that leaves the shared host changed fails by name, and the host is restored."""

import contextlib
from collections.abc import Iterator

import pytest
from rig import postfix, soundness
from rig.host import Host


class Guard:
    """Looks at the host before and after tests and modules."""

    def __init__(self, host: Host, config: pytest.Config):
        self._host = host
        self._config = config
        self._sound = soundness.look(host)
        self._last: pytest.Item | None = None

    @contextlib.contextmanager
    def module(self) -> Iterator[None]:
        """The host is sound when the block begins, and its fixtures leave it so.

        What has broken since the last test is the fault of that test.
        """
        if broken := self._broken():
            self._make_anew(self._sound)
            self._blame(f"broke the host: {'; '.join(broken)}")
        before = soundness.look(self._host)
        yield
        self._check(before)
        self._sound = before

    @contextlib.contextmanager
    def test(self, item: pytest.Item) -> Iterator[None]:
        """The block leaves the host as it was. Raises `Unsound` otherwise, when it is mended."""
        before = soundness.look(self._host)
        yield
        self._last = item
        self._check(before)

    def _broken(self) -> list[str]:
        """How it is otherwise than after the last test, but for processes of fixtures for the whole
        session."""
        return (soundness.dead(self._host, self._sound)
                or soundness.left_by(self._host, self._sound, processes_too=False)
                or soundness.silent())

    def _check(self, before: soundness.State) -> None:
        lost = soundness.dead(self._host, before)
        if not lost:
            self._host.settle()
            lost = soundness.left_by(self._host, before)
        if lost:
            lost += postfix.waiting() if any(line.startswith("queue") for line in lost) else []
            self._make_anew(before)
            raise soundness.Unsound("left the host changed: " + "; ".join(lost))

    def _make_anew(self, state: soundness.State) -> None:
        try:
            soundness.make_anew(self._host, state)
        except AssertionError as error:
            pytest.exit(f"the host is broken for good since {self._last}: {error}", returncode=3)

    def _blame(self, reason: str) -> None:
        """Report the last test as failed, after its own report."""
        if self._last is None:
            raise soundness.Unsound(reason)
        report = pytest.TestReport(
            self._last.nodeid, self._last.location, {}, "failed", f"Unsound: {reason}", "teardown")
        self._config.hook.pytest_runtest_logreport(report=report)
