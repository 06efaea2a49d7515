"""``chatmaild directory`` on a real PostgreSQL."""

import pytest
from directoryhosts import Host

from chatmaild import cli
from chatmaild.accounts.entries import Entries
from chatmaild.config import inifile


@pytest.fixture
def hosts(directory_server, tmp_path, capsys):
    one, two = (Host(directory_server, tmp_path / name, f"{name}.example", capsys)
                for name in ("one", "two"))
    assert one.command("join", "192.0.2.10")[0] == two.command("join", "[2001:db8::20]")[0] == 0
    return one, two


def test_two_hosts_join_and_the_accounts_of_the_first_are_entered(directory_server, hosts):
    one, two = hosts
    one.make("somebody1").block()
    one.make("somebody2").enforce_encryption(False)
    one.mailboxes.find("never@chat.example").block()
    assert one.command("import", "--dry-run")[1]["entered"] == 3
    assert two.command("status")[1][0]["accounts"] == 0
    assert one.command("import")[0] == 0
    assert two.command("status")[1] == [
        {"node": "one.example", "address": "192.0.2.10", "accounts": 3, "accepts": True,
         "own": False},
        {"node": "two.example", "address": "2001:db8::20", "accounts": 0, "accepts": True,
         "own": True}]
    assert directory_server.sql("SELECT address, hash IS NULL, blocked, cleartext FROM account "
                                "ORDER BY address").splitlines() == [
        "never@chat.example|t|t|f", "somebody1@chat.example|f|t|f",
        "somebody2@chat.example|f|f|t"]


def test_an_address_with_two_homes_is_named(hosts):
    one, two = hosts
    one.make("somebody1"), two.make("somebody1", "{PLAIN}other")
    assert one.command("import")[0] == 0
    code, result, errors = two.command("reconcile")
    assert code == 1 and result["elsewhere"] == ["somebody1@chat.example"]
    assert "lives elsewhere" in errors


def test_reconcile_ends_what_a_killed_host_began(directory_server, hosts):
    one, _ = hosts
    for name in ("gone", "kept", "lost"):
        one.make(name)
    one.command("import")
    directory_server.sql("UPDATE account SET leaving = true WHERE address NOT LIKE 'lost@%'")
    for name in ("gone", "lost"):
        one.mailboxes.find(f"{name}@chat.example").delete()
    code, result, errors = one.command("reconcile")
    assert (result["released"], result["missing"]) == (["gone@chat.example"], ["lost@chat.example"])
    assert code == 1 and "has no mailbox" in errors
    assert one.command("reconcile", "--release-missing")[1]["released"] == ["lost@chat.example"]
    assert one.command("reconcile")[0] == 0
    assert directory_server.sql("SELECT address, leaving FROM account") == "kept@chat.example|f"


def test_an_address_that_a_killed_import_keeps_is_named_with_the_way_out(hosts, capsys):
    one, _ = hosts
    entries = Entries(inifile.load(one.ini))
    entries.reserve(one.mailboxes.find("arriving@chat.example"))
    entries.directory.close()
    code, result, errors = one.command("reconcile")
    assert code == 1 and result["missing"] == []
    assert "chatmaild accounts unblock arriving@chat.example" in errors
    assert cli.main(["-c", str(one.ini), "accounts", "unblock", "arriving@chat.example"]) == 0
    capsys.readouterr()
    assert one.command("status")[1][0]["accounts"] == 0


def test_a_host_without_directory_is_told_so(hosts):
    one, _ = hosts
    one.ini.write_text("[chatmaild]\nmail_domains = chat.example\nmail_user = root\n")
    code, _, errors = one.command("status")
    assert code == 2 and "directory is not set" in errors
    one.ini.write_text("[chatmaild]\nmail_domains = chat.example\nnode = a.example\n")
    assert "belong together" in one.command("status")[2]


@pytest.mark.parametrize("action", ["init", "status"])
def test_a_database_that_is_not_there_is_complained_of_once(hosts, tmp_path, caplog, action):
    one, _ = hosts
    (tmp_path / "one/directory.conf").write_text(f"host={tmp_path} dbname=x user=y\n")
    code, _, errors = one.command(action)
    assert code == 1 and len(errors.splitlines()) == 1 and str(tmp_path) in errors
    assert caplog.messages == []


def test_two_hosts_do_not_have_one_address(hosts):
    _, two = hosts
    code, _, errors = two.command("join", "192.0.2.10")
    assert code == 1 and "is the address of one.example" in errors
    assert two.command("status")[1][1]["address"] == "2001:db8::20"


def test_a_host_that_did_not_join_is_told_how(directory_server, hosts):
    one, _ = hosts
    one.make("somebody1")
    directory_server.sql("DELETE FROM node WHERE name LIKE 'one%'")
    code, _, errors = one.command("import")
    assert code == 1 and "join" in errors
    code, _, errors = one.command("status")
    assert code == 1 and "not among them" in errors
