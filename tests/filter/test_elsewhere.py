"""What Postfix hears about accounts on several hosts, from a real PostgreSQL that may hang."""

import asyncio
import time

import pytest
from rig.until import until

from chatmaild.accounts import directory
from chatmaild.accounts.directory import Directory
from chatmaild.accounts.directorylines import Kind
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.filter import elsewhere
from chatmaild.filter.elsewhere import NO_DIRECTORY, NO_DISK, Elsewhere

DOMAIN = "chat.example"
HERE, THERE = f"here@{DOMAIN}", f"there@{DOMAIN}"
HASH = "{SHA512-CRYPT}$6$salt$hash"
WAY = b"chat-node:inet:[192.0.2.20]:24"


@pytest.fixture
def config(directory_server, tmp_path):
    """Of the host a, where `HERE` lives; `THERE` lives on the host b."""
    connection = tmp_path / "directory.conf"
    connection.write_text(directory_server.conninfo())
    (tmp_path / "mail" / DOMAIN).mkdir(parents=True)
    ini = tmp_path / "chatmaild.ini"
    ini.write_text(f"[chatmaild]\nmail_domains = {DOMAIN}\nmailboxes_dir = {tmp_path}/mail\n"
                   f"directory = {connection}\nnode = a\n")
    config = inifile.load(ini)
    for node, ip, address in (("a", "192.0.2.10", HERE), ("b", "192.0.2.20", THERE)):
        with Directory(directory_server.conninfo(), node, 1, 30) as own:
            own.join(ip)
            own.claim(address, HASH)
    Mailboxes(config).find(HERE).create(HASH, 0.0)
    return config


@pytest.fixture
def ask(config):
    """What the transport table says about an address; it has connections to the directory."""
    with asyncio.Runner() as runner:
        async def made():
            return Elsewhere(config)

        accounts = runner.run(made())

        def ask(address):
            return runner.run(accounts.transport(address.encode()))

        until(lambda: ask(THERE) == WAY, "connections")
        ask.reload = lambda: accounts.configure(config)
        yield ask
        accounts.close()


def test_postfix_learns_the_way_to_those_who_live_elsewhere(ask, monkeypatch):
    monkeypatch.setattr(directory, "HURRY", 60)
    assert ask("There+x@CHAT.example") == ask(THERE) == WAY
    for address in (HERE, f"nobody@{DOMAIN}", "there@other.example", DOMAIN, "*", "\xff@x", "@"):
        assert ask(address) is None, address


def test_a_directory_that_hangs_puts_off_mail_for_elsewhere_only(
        ask, directory_server, monkeypatch):
    monkeypatch.setattr(directory, "HURRIED_SEARCH", Kind(3600.0))
    ask.reload()
    with directory_server.hanging():
        assert ask(THERE) == ask(f"nobody@{DOMAIN}") == NO_DIRECTORY
        assert ask(HERE) is ask("there@other.example") is None
        begin = time.monotonic()
        assert [ask(THERE) for _ in range(100)] == [NO_DIRECTORY] * 100
        assert time.monotonic() - begin < 40, "each waited"


def test_it_is_asked_again_when_it_answers(ask, directory_server, monkeypatch):
    monkeypatch.setattr(directory, "HURRIED_SEARCH", Kind(0.1))
    ask.reload()
    with directory_server.hanging():
        assert ask(THERE) == NO_DIRECTORY
    until(lambda: ask(THERE) == WAY, "the directory to answer")


def test_what_it_said_a_moment_ago_still_holds_while_it_hangs(ask, directory_server, monkeypatch):
    monkeypatch.setattr(elsewhere, "FRESH", 3600.0)
    ask.reload()
    until(lambda: ask(THERE) == WAY, "the directory to answer")
    with directory_server.hanging():
        assert ask(THERE) == WAY


def test_a_disk_that_cannot_tell_puts_mail_off(ask, config):
    for path in sorted((config.mailboxes_dir / DOMAIN).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (config.mailboxes_dir / DOMAIN).rmdir()
    assert ask(HERE) == ask(THERE) == NO_DISK
