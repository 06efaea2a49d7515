"""``chatmaild accounts`` on one of several hosts: only the home changes an account."""

import json

import pytest
from directoryhosts import joined

from chatmaild import cli

ADDRESS = "somebody1@chat.example"


@pytest.fixture
def hosts(directory_server, tmp_path, capsys):
    return joined(directory_server, tmp_path, capsys)


@pytest.fixture
def accounts(capsys):
    def run(host, *arguments):
        code = cli.main(["-c", str(host.ini), "accounts", *arguments])
        captured = capsys.readouterr()
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
                      ("password", ADDRESS), ("set", ADDRESS, "--incoming-cleartext", "yes"),
                      ("create", ADDRESS), ("export", ADDRESS, "/dev/full")):
        code, _, errors = accounts(two, *arguments)
        assert code == 1 and "one.example" in errors, arguments
    assert not two.mailboxes.find(ADDRESS).is_blocked()
    assert one.command("reconcile")[0] == 0


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
