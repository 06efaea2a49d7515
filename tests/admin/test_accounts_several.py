"""``chatmaild accounts`` on one of several hosts: only the home changes an account."""

import json
import os
import shutil
import threading
import time

import pytest
from directoryhosts import HASH, joined

from chatmaild import cli
from chatmaild.accounts import entries
from chatmaild.accounts.directory import Directory
from chatmaild.accounts.entries import Entries

ADDRESS = "somebody1@chat.example"


@pytest.fixture
def hosts(directory_server, tmp_path, capsys):
    return joined(directory_server, tmp_path, capsys)


@pytest.fixture
def accounts(capsys):
    def run(host, *arguments):
        before = set(threading.enumerate())
        code = cli.main(["-c", str(host.ini), "accounts", *arguments])
        captured = capsys.readouterr()
        assert before >= set(threading.enumerate()), "connections are left"
        return code, captured.out, captured.err
    return run


def test_what_an_admin_does_at_home_is_known_everywhere(hosts, accounts, directory_server):
    one, two = hosts

    def row():
        return directory_server.sql("SELECT blocked, cleartext, left(hash, 9) FROM account")

    assert accounts(one, "create", "--no-qr", ADDRESS)[0] == 0
    before = directory_server.sql("SELECT hash FROM account")
    assert accounts(one, "password", "--no-qr", ADDRESS)[0] == 0
    assert before != directory_server.sql("SELECT hash FROM account")
    for arguments, expected in (
            (("block", ADDRESS), "t|f|{SHA512-C"), (("unblock", ADDRESS), "f|f|{SHA512-C"),
            (("set", ADDRESS, "--incoming-cleartext", "yes"), "f|t|{SHA512-C"),
            (("delete", "--yes", "--block", ADDRESS), "t|t|"), (("unblock", ADDRESS), "")):
        code, _, errors = accounts(one, *arguments)
        assert (code, row()) == (0, expected), errors


def test_another_host_names_the_home_and_changes_nothing(hosts, accounts, directory_server):
    one, two = hosts
    accounts(one, "create", ADDRESS)
    for arguments in (("block", ADDRESS), ("unblock", ADDRESS), ("delete", "--yes", ADDRESS),
                      ("show", ADDRESS), ("password", ADDRESS),
                      ("set", ADDRESS, "--incoming-cleartext", "yes"),
                      ("create", ADDRESS), ("export", ADDRESS, "/dev/full")):
        code, _, errors = accounts(two, *arguments)
        assert code == 1 and "one.example" in errors, arguments
    assert not two.mailboxes.find(ADDRESS).is_blocked()
    assert one.command("reconcile")[0] == 0


def test_an_address_that_cannot_be_made_yet_is_not_taken(hosts, accounts, directory_server):
    one, _ = hosts
    accounts(one, "create", ADDRESS)
    mailbox = one.mailboxes.find(ADDRESS)
    mailbox.delete()
    directory_server.sql("DELETE FROM account")
    code, _, errors = accounts(one, "create", ADDRESS)
    assert code == 1 and "its former owner are being ended" in errors
    mailbox.settle()
    assert accounts(one, "create", ADDRESS)[0] == 0


def test_who_is_imported_is_made_nowhere_else_meanwhile(
        hosts, accounts, directory_server, monkeypatch, tmp_path):
    one, _ = hosts
    accounts(one, "create", ADDRESS)
    accounts(one, "export", "--complete", ADDRESS, str(tmp_path / "archive"))
    accounts(one, "delete", "--yes", ADDRESS)
    before = entries.Entries.changed

    def changed(self, mailbox):
        with Directory(directory_server.conninfo(), "two.example", lines=1, patience=30) as two:
            assert not two.claim(ADDRESS, HASH).made
        before(self, mailbox)

    monkeypatch.setattr(Entries, "changed", changed)
    assert accounts(one, "import", str(tmp_path / "archive"))[0] == 0
    assert directory_server.sql("SELECT blocked FROM account") == "f"


def test_an_import_that_fails_takes_no_address(hosts, accounts, directory_server, tmp_path):
    one, _ = hosts
    accounts(one, "create", ADDRESS)
    archive = tmp_path / "archive"
    accounts(one, "export", "--complete", ADDRESS, str(archive))
    accounts(one, "delete", "--yes", ADDRESS)
    archive.write_bytes(archive.read_bytes()[:2048])
    assert accounts(one, "import", str(archive))[0] == 1
    assert directory_server.sql("SELECT address FROM account") == ""


def test_an_import_that_fails_leaves_the_address_to_its_owner(
        hosts, accounts, directory_server, tmp_path):
    """Whose mailbox is lost, and comes from a backup."""
    one, _ = hosts
    accounts(one, "create", ADDRESS)
    archive = tmp_path / "archive"
    accounts(one, "export", "--complete", ADDRESS, str(archive))
    before = directory_server.sql("SELECT address, hash, blocked FROM account")
    shutil.rmtree(one.mailboxes.find(ADDRESS).home)
    archive.write_bytes(archive.read_bytes()[:2048])
    assert accounts(one, "import", str(archive))[0] == 1
    assert directory_server.sql("SELECT address, hash, blocked FROM account") == before != ""


def test_expiry_needs_the_database_for_inactive_accounts_only(
        hosts, directory_server, monkeypatch, capsys):
    monkeypatch.setattr(entries, "PATIENCE", 0.5)
    one, _ = hosts
    inactive = [one.make(f"inactive{number}") for number in range(5)]
    present = one.mailboxes.find(ADDRESS)
    present.create(HASH, time.time())
    os.makedirs(f"{present.home}/cur")
    old = f"{present.home}/cur/1500000000.M1P1.host,S=6,W=7:2,S"
    with open(old, "w") as file:
        file.write("A: b\n\n")
    os.utime(old, (1_500_000_000, 1_500_000_000))
    one.command("import")

    def expire():
        code = cli.main(["-c", str(one.ini), "expire", "--json"])
        return code, json.loads(capsys.readouterr().out)["removed"]

    with directory_server.hanging():
        code, removed = expire()
        assert code == 1 and (removed["old"], removed["inactive"]) == (1, 0)
        assert all(mailbox.exists() for mailbox in inactive)
    code, removed = expire()
    assert code == 0 and removed["inactive"] == 5
    assert directory_server.sql("SELECT address FROM account") == ADDRESS


def test_without_the_database_an_account_is_blocked_here_and_the_admin_is_told(
        hosts, accounts, directory_server):
    one, _ = hosts
    accounts(one, "create", ADDRESS)
    directory_server.kill()
    try:
        code, _, errors = accounts(one, "block", ADDRESS)
        assert code == 1 and "reconcile" in errors and one.mailboxes.find(ADDRESS).is_blocked()
        assert accounts(one, "delete", "--yes", ADDRESS)[0] == 1
        assert one.mailboxes.find(ADDRESS).exists(), "the address would be free here, and taken"
    finally:
        directory_server.start()
    assert one.command("reconcile")[0] == 0
    assert json.loads(directory_server.sql("SELECT to_json(blocked) FROM account"))


def test_a_list_of_all_hosts(hosts, accounts):
    one, two = hosts
    accounts(one, "create", ADDRESS), accounts(two, "create", "another12@chat.example")
    accounts(two, "block", "another12@chat.example")
    for host in hosts:
        assert accounts(host, "list", "--everywhere")[1].splitlines() == [
            "another12@chat.example\ttwo.example\tblocked", f"{ADDRESS}\tone.example\tok"]
    assert accounts(one, "list", "--everywhere", "--names", "--match", "other")[1] == (
        "another12@chat.example\n")
    assert json.loads(accounts(two, "list", "--everywhere", "--json")[1])[1] == {
        "address": ADDRESS, "node": "one.example", "blocked": False, "moving": None}
    assert accounts(one, "list", "--everywhere", "--sort", "size")[0] == 2
