"""Several accounts made together: each succeeds or fails by itself, and none is half there."""

import errno
import os
from pathlib import Path

import pytest

from chatmaild.accounts.creations import NewAccount, create_all
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.disk import atomic
from chatmaild.errors import StoreError

DOMAIN = "chat.example"
HASH = "{SHA512-CRYPT}$6$salt$hash"


@pytest.fixture
def boxes(tmp_path):
    text = f"[chatmaild]\nmail_domains = {DOMAIN}\nmailboxes_dir = {tmp_path}/mail\n"
    found = Mailboxes(inifile.parse(text.encode(), Path("test.ini")))
    found.prepare()
    return found


@pytest.fixture
def directory(boxes):
    return Path(boxes.root, DOMAIN)


def name(number):
    return f"somebody{number}@{DOMAIN}"


def new(directory, number, claim=None):
    return NewAccount(f"{directory}/{name(number)}", HASH, claim)


def outcomes(accounts):
    """What became of each; "error" for a `StoreError`."""
    for account in accounts:
        try:
            yield account.outcome()
        except StoreError:
            yield "error"


def test_each_has_its_own_outcome(boxes, directory):
    boxes.find(name(1)).create("{PLAIN}first", 0)
    boxes.find(name(2)).block()
    (directory / name(3)).symlink_to("/nowhere")
    accounts = [new(directory, number) for number in range(6)]
    accounts[5].claim = f"{directory}/.invites/spent"
    create_all(accounts, 0)
    assert list(outcomes(accounts)) == [
        Creation.DONE, Creation.EXISTS, Creation.BLOCKED, "error", Creation.DONE,
        Creation.CLAIM_GONE]
    assert boxes.find(name(0)).hash() == boxes.find(name(4)).hash() == HASH
    assert boxes.find(name(1)).hash() == "{PLAIN}first"
    assert sorted(os.listdir(directory)) == [name(number) for number in range(5)]


def test_the_first_of_two_with_the_same_address_gets_it(boxes, directory):
    accounts = [new(directory, 1), NewAccount(f"{directory}/{name(1)}", "{PLAIN}second")]
    create_all(accounts, 0)
    assert list(outcomes(accounts)) == [Creation.DONE, Creation.EXISTS]
    assert boxes.find(name(1)).hash() == HASH


def test_who_does_not_fit_on_the_disk_leaves_nothing_and_holds_up_nobody(
        boxes, directory, monkeypatch):
    fsync, calls = os.fsync, []

    def full_for_the_second(fd):
        calls.append(fd)
        if len(calls) == 3:     # a password and a directory, then this password
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(fd)

    accounts = [new(directory, number) for number in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_for_the_second)
        create_all(accounts, 0)
    assert list(outcomes(accounts)) == [Creation.DONE, "error", Creation.DONE]
    assert sorted(os.listdir(directory)) == [name(0), name(2)]


def test_a_lock_that_stays_taken_fails_all_and_leaves_nothing(directory, monkeypatch):
    monkeypatch.setattr(atomic, "LOCK_TIMEOUT", 0.01)
    claims = directory / ".invites"
    claims.mkdir()
    (claims / "token").touch()
    accounts = [new(directory, 0), new(directory, 1, claim=f"{claims}/token")]
    with atomic.locked(str(directory)):
        create_all(accounts, 0)
    assert list(outcomes(accounts)) == ["error", "error"]
    assert os.listdir(directory) == [".invites"] and os.listdir(claims) == ["token"]


def test_what_is_together_is_synced_together(directory, monkeypatch):
    fsync, calls = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append(fsync(fd)))
    create_all([new(directory, number) for number in range(10)], 0)
    assert len(calls) == 21     # a password and a directory each, and the domain's


def test_the_disk_begins_with_all_before_anybody_waits_for_one(directory, monkeypatch):
    """It is told to write each by POSIX_FADV_DONTNEED, once the hash is in the file."""
    advise, fsync, calls = os.posix_fadvise, os.fsync, []

    def begin(fd, *rest):
        calls.append(("begin", os.fstat(fd).st_size))
        assert rest == (0, 0, os.POSIX_FADV_DONTNEED)
        advise(fd, *rest)

    def wait(fd):
        calls.append(("wait", None))
        fsync(fd)

    monkeypatch.setattr(os, "posix_fadvise", begin)
    monkeypatch.setattr(os, "fsync", wait)
    create_all([new(directory, number) for number in range(3)], 0)
    assert calls == [("begin", len(HASH) + 1)] * 3 + [("wait", None)] * 7
