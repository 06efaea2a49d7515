"""What the rules of sign-up are told about the host."""

import os
from pathlib import Path

import pytest

from chatmaild.accounts.hoststate import GOOD_FOR, Host
from chatmaild.config import inifile
from chatmaild.errors import StoreError


@pytest.fixture
def host(tmp_path):
    text = f"[chatmaild]\nmail_domains = chat.example\nmailboxes_dir = {tmp_path}\n"
    return Host(inifile.parse(text.encode(), tmp_path / "chatmaild.ini"))


def test_load_and_memory_are_looked_at_once_a_second(host, monkeypatch):
    loads = iter((1.0, 2.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (next(loads), 0, 0))
    assert [host.look(now).load for now in (5.0, 5.5, 5.0 + GOOD_FOR)] == [0.5, 0.5, 1.0]


def test_what_is_hidden_from_us_is_unknown(host, monkeypatch):
    def hidden(*_):
        raise OSError("hidden")

    monkeypatch.setattr(os, "getloadavg", hidden)
    monkeypatch.setattr("builtins.open", hidden)
    state = host.look(0.0)
    assert state.load is None and state.available_memory is None and state.free_disk > 0


def test_the_switch_and_the_disk_are_looked_at_each_time(host, tmp_path):
    assert not host.look(0.0).switched_off and host.look(0.0).available_memory > 0
    Path(tmp_path, "nocreate").touch()
    assert host.look(0.0).switched_off
    Path(tmp_path, "nocreate").unlink()
    tmp_path.rename(tmp_path.with_suffix(".away"))
    with pytest.raises(StoreError):
        host.look(0.0)
