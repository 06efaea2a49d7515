"""When an account ended is remembered as long as a session of it may live, and no longer."""

import errno
import os
import time

import pytest

from chatmaild.accounts import endings
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.errors import StoreError

ALICE = "alice@chat.example"
NOW = 1_700_000_000


@pytest.fixture
def mailboxes(tmp_path):
    ini = f"[chatmaild]\nmail_domains = chat.example\nmailboxes_dir = {tmp_path}/mail\n"
    found = Mailboxes(inifile.parse(ini.encode(), tmp_path / "chatmaild.ini"))
    found.prepare()
    return found


def names(mailboxes):
    return sorted(os.listdir(f"{mailboxes.root}/chat.example"))


def let_pass(seconds, monkeypatch):
    """It is later, or another boot than it was if `seconds` is negative."""
    now = time.monotonic() + seconds
    monkeypatch.setattr(time, "monotonic", lambda: now)


@pytest.mark.parametrize("how", [{}, {"block": True}, {"keep": lambda home: False}])
def test_each_way_to_end_is_remembered(mailboxes, how):
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    assert alice.ended() is None
    before = time.monotonic()
    alice.delete(**how)
    ended = alice.ended()
    assert before <= ended <= time.monotonic()
    alice.unblock()
    alice.settle()
    assert alice.create("{PLAIN}y", NOW) is Creation.DONE
    assert alice.ended() == ended, "the next owner's account is another one"


@pytest.mark.parametrize("how", [{}, {"block": True}, {"keep": lambda home: False}])
def test_nobody_has_the_address_before_its_sessions_have_ended(mailboxes, how):
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    assert not alice.awaits_sessions()
    alice.delete(**how)
    alice.unblock()
    assert alice.awaits_sessions() and alice.create("{PLAIN}y", NOW) is Creation.ENDING
    assert alice.hash() is None and names(mailboxes) == [f".ended-{ALICE}"]
    alice.settle()
    assert not alice.awaits_sessions() and alice.create("{PLAIN}y", NOW) is Creation.DONE
    alice.settle()      # somebody else deleted it at the same time


@pytest.mark.parametrize("age", [endings.PATIENCE + 1, -1000])
def test_nobody_waits_for_ever_for_somebody_who_was_killed(mailboxes, monkeypatch, age):
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    alice.delete()
    let_pass(age, monkeypatch)
    assert not alice.awaits_sessions() and alice.create("{PLAIN}y", NOW) is Creation.DONE


def test_a_new_password_keeps_nobody_out(mailboxes):
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    alice.set_password("{PLAIN}y")
    assert alice.ended() is not None and not alice.awaits_sessions()


@pytest.mark.parametrize("how", [{}, {"block": True}, {"keep": lambda home: False}])
def test_it_is_remembered_on_a_disk_that_takes_no_file_before_the_removal(
        mailboxes, monkeypatch, how):
    """Who deletes accounts because the inodes are used up would forget it just then."""
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    alice.block()
    real = open

    def full(path, *arguments, **options):
        if ".ended-" in str(path) and any(".removed-" in name for name in os.listdir(
                f"{mailboxes.root}/chat.example")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *arguments, **options)

    monkeypatch.setattr("builtins.open", full)
    alice.delete(**how)
    assert alice.ended() is not None


@pytest.mark.parametrize("change", [
    lambda alice: alice.delete(), lambda alice: alice.delete(block=True),
    lambda alice: alice.set_password("{PLAIN}y")], ids=["delete", "block", "password"])
def test_who_has_to_know_is_told_when_it_cannot_be_remembered(mailboxes, monkeypatch, change):
    """Or a session that is open would go on sending, and nobody knew."""
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    real = open

    def ill(path, *arguments, **options):
        if ".ended-" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *arguments, **options)

    monkeypatch.setattr("builtins.open", ill)
    with pytest.raises(StoreError, match="connected to Postfix"):
        change(alice)
    assert alice.hash() in (None, "{PLAIN}y")


def test_a_mailbox_that_is_kept_goes_on(mailboxes):
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    alice.delete(keep=lambda home: True)
    assert alice.exists() and alice.ended() is None


def test_an_ending_is_no_account_and_no_rubbish(mailboxes):
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    alice.delete()
    assert list(mailboxes.of_domain("chat.example")) == []
    assert mailboxes.sweep("chat.example", NOW, dry_run=True) == []
    assert mailboxes.sweep("chat.example", NOW) == []
    assert alice.ended() is not None


@pytest.mark.parametrize("age", [endings.LIFETIME + 1, -1000])
def test_what_no_session_can_need_is_forgotten(mailboxes, monkeypatch, age):
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    alice.delete()
    let_pass(age, monkeypatch)
    endings.forget_old(f"{mailboxes.root}/chat.example")
    assert alice.ended() is None
    assert names(mailboxes) == []


@pytest.mark.parametrize("content", ["", "nonsense\n", "\0" * 20, "\xff" * 20, "\xff\nsessions\n"])
def test_a_mark_that_a_power_loss_emptied_says_nothing(mailboxes, content):
    alice = mailboxes.find(ALICE)
    alice.create("{PLAIN}x", NOW)
    alice.delete()
    with open(f"{mailboxes.root}/chat.example/.ended-{ALICE}", "w", encoding="latin-1") as file:
        file.write(content)
    assert alice.ended() is None and not alice.awaits_sessions()
    alice.settle()
    assert alice.create("{PLAIN}y", NOW) is Creation.DONE
