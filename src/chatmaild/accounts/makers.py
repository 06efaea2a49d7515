"""Hashes passwords and makes accounts in threads, first come, first served.

    create -> a thread that hashes: there are as many as cores
           -> a thread that writes, one a domain: what came meanwhile is written together
"""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from chatmaild.accounts import creations, passwordhash
from chatmaild.accounts.creations import NewAccount
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import Mailbox

DOMAINS = 4
"""Whose accounts are written at the same time: one whose disk hangs holds up no other."""

TOGETHER = 64
"""Accounts that are written together at most; each has a file open meanwhile."""


class _Job:
    """An account to be made, for a coroutine that waits for `done`."""

    __slots__ = ("account", "error", "done")

    def __init__(self) -> None:
        self.account: NewAccount | None = None
        self.error: Exception | None = None
        self.done: asyncio.Future[Creation] = asyncio.get_running_loop().create_future()


class Makers:
    """The threads. Its coroutines are for one asyncio loop."""

    def __init__(self) -> None:
        # A hash takes 2 ms of a core; with more at a time than cores all of them would be late.
        self._hashers = ThreadPoolExecutor(os.cpu_count() or 1, "hash")
        self._writers = ThreadPoolExecutor(DOMAINS, "write")
        self._changed = threading.Condition()
        # By directory of the domain, which is there as long as a thread writes its accounts.
        self._waiting: dict[str, list[_Job]] = {}

    async def hash(self, password: bytes) -> str:
        """Return a hash of `password`; see `passwordhash.hash_password`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._hashers, passwordhash.hash_password, password)

    async def create(self, mailbox: Mailbox, password: bytes, claim: str | None
                     ) -> tuple[str, Creation]:
        """Hash `password` and make the account; returns the hash too. See `Mailbox.create`."""
        job = _Job()
        self._hashers.submit(self._hash, job, mailbox.home, password, claim)
        outcome = await job.done
        assert job.account
        return job.account.password_hash, outcome

    async def create_with_hash(self, mailbox: Mailbox, password_hash: str) -> Creation:
        """Do `Mailbox.create`."""
        job = _Job()
        job.account = NewAccount(mailbox.home, password_hash)
        self._enqueue(job)
        return await job.done

    def close(self) -> None:
        """Finish what was asked for, and end the threads."""
        self._hashers.shutdown()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
        self._writers.shutdown()

    def _hash(self, job: _Job, home: str, password: bytes, claim: str | None) -> None:
        try:
            job.account = NewAccount(home, passwordhash.hash_password(password), claim)
        except Exception as error:
            job.error = error
            _tell([job])
        else:
            self._enqueue(job)

    def _enqueue(self, job: _Job) -> None:
        assert job.account
        directory = os.path.dirname(job.account.home)
        with self._changed:
            if directory in self._waiting:
                self._waiting[directory].append(job)
                return
            self._waiting[directory] = [job]
        self._writers.submit(self._write, directory)

    def _write(self, directory: str) -> None:
        """Make accounts that wait in `directory`. It has another turn if more have come by then.
        """
        with self._changed:
            jobs = self._waiting[directory][:TOGETHER]
            del self._waiting[directory][:TOGETHER]
        try:
            creations.create_all([job.account for job in jobs if job.account], time.time())
        except Exception as error:
            for job in jobs:
                job.error = error
        _tell(jobs)
        with self._changed:
            if self._waiting[directory]:
                self._writers.submit(self._write, directory)
            else:
                del self._waiting[directory]
                self._changed.notify_all()


def _tell(jobs: Sequence[_Job]) -> None:
    """Wake those who wait for the jobs."""
    jobs[0].done.get_loop().call_soon_threadsafe(_finish, jobs)


def _finish(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.done.done():     # nobody waits any more
            continue
        try:
            if job.error:
                raise job.error
            assert job.account
            job.done.set_result(job.account.outcome())
        except Exception as error:
            job.done.set_exception(error)
