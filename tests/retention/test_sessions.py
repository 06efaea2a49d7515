"""Who is connected, from the output of doveadm."""

import os
import stat

import pytest

from chatmaild.errors import ChatmaildError
from chatmaild.retention import sessions


@pytest.fixture
def doveadm(tmp_path, monkeypatch):
    """Puts a program in doveadm's place."""
    def install(script):
        path = tmp_path / "doveadm"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return install


@pytest.mark.parametrize("said", [
    "username\t#\tproto\tpids\tips\na@chat.test\t2\timap\t(7 8)\t(::1)\nbob\t1\timap\t(9)\t(::1)\n",
    "username\tservice\tconnections\tpids\tips\na@chat.test\timap\t1\t(7)\t(::1)\n"
    "a@chat.test\timap\t1\t(8)\t(::1)\nbob\timap\t1\t(9)\t(::1)\n",
])
def test_users_are_in_the_first_column_whatever_the_release(said):
    assert sessions.users(said.splitlines()) == {"a@chat.test", "bob"}


@pytest.mark.parametrize("said", ["", "username\tproto\n"])
def test_nobody_is_connected(said):
    assert sessions.users(said.splitlines()) == set()


@pytest.mark.parametrize("script, words", [
    ("echo Fatal: connect failed >&2; exit 75", "Fatal: connect failed"),
    ("exec sleep 60", "no answer within 0.05 s"),
])
def test_a_dovecot_that_does_not_tell_is_named(doveadm, monkeypatch, script, words):
    doveadm(script)
    monkeypatch.setattr(sessions, "TIMEOUT", 0.05 if "sleep" in script else 60)
    with pytest.raises(ChatmaildError, match=words):
        sessions.connected()


def test_a_host_without_doveadm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ChatmaildError, match="doveadm: No such file"):
        sessions.connected()
