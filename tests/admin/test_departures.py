"""``chatmaild directory move``, ``drain`` and ``receive`` between two hosts."""

import os
import sys

import pytest
from directoryhosts import Host

from chatmaild.accounts import departure

ADDRESS = "somebody1@chat.example"
SRC = os.path.abspath("src")


@pytest.fixture
def hosts(directory_server, tmp_path, capsys):
    directory_server.sql("TRUNCATE account, invitation, node")
    one, two = (Host(directory_server, tmp_path / name, f"{name}.example", capsys)
                for name in ("one", "two"))
    one.command("join", "192.0.2.10"), two.command("join", "192.0.2.20")
    for host, other in ((one, two), (two, one)):
        host.rsh = host.ini.with_name("rsh")
        host.rsh.write_text(f"#!/bin/sh\nshift 2\nPYTHONPATH={SRC} exec {sys.executable} -m "
                            f"chatmaild -c {other.ini} \"$@\"\n")
        host.rsh.chmod(0o755)
    return one, two


def full(host):
    """An account with a message, a flag, UIDs and a day of its last login."""
    mailbox = host.make("somebody1")
    for name in ("cur", "new", "tmp"):
        os.mkdir(f"{mailbox.home}/{name}")
    with open(f"{mailbox.home}/cur/1700000000.M1P1.host,S=6,W=7:2,S", "w") as file:
        file.write("A: b\n\n")
    with open(f"{mailbox.home}/dovecot-uidlist", "w") as file:
        file.write("3 V1700000000 N8 G0\n7 :1700000000.M1P1.host,S=6,W=7\n")
    os.utime(f"{mailbox.home}/password", (1_700_000_000, 1_700_000_000))
    assert host.command("import")[0] == 0
    return mailbox


def move(host, *arguments):
    return host.command("move", "--rsh", str(host.rsh), *arguments)


def node_of(server):
    return server.sql("SELECT n.name, a.moving IS NULL FROM account a JOIN node n ON n.id = a.node")


def has_arrived(host):
    mailbox = host.mailboxes.find(ADDRESS)
    return (mailbox.exists() and os.listdir(f"{mailbox.home}/cur") == [
        "1700000000.M1P1.host,S=6,W=7:2,S"]
        and "7 :1700000000.M1P1" in open(f"{mailbox.home}/dovecot-uidlist").read()
        and mailbox.last_login() == 1_700_000_000 // 86_400 * 86_400)


def test_an_account_moves_with_all_that_it_has(directory_server, hosts):
    one, two = hosts
    mailbox = full(one)
    code, result, errors = move(one, ADDRESS, "two.example")
    assert code == 0, errors
    assert node_of(directory_server) == "two.example|t" and has_arrived(two)
    assert not os.path.exists(mailbox.home) and not os.path.exists(departure.path_of(mailbox.home))
    assert move(two, ADDRESS, "one.example")[0] == 0 and has_arrived(one)


def test_a_move_that_was_interrupted_anywhere_goes_on(directory_server, hosts):
    one, two = hosts
    mailbox = full(one)
    good = one.rsh.read_text()
    one.rsh.write_text("#!/bin/sh\nexit 255\n")             # the other host is not reached
    code, _, errors = move(one, ADDRESS, "two.example")
    assert code == 1 and "Run it again" in errors and not mailbox.exists()
    assert node_of(directory_server) == "one.example|f"
    one.rsh.write_text(good.replace("exec ", "") + "exit 255\n")   # it has it, and we do not know
    assert move(one, ADDRESS, "two.example")[0] == 1 and has_arrived(two)
    one.rsh.write_text(good)
    assert move(one, ADDRESS, "two.example")[0] == 0 and has_arrived(two)
    assert node_of(directory_server) == "two.example|t"
    os.mkdir(departure.path_of(mailbox.home))               # killed before the last step
    assert move(one, ADDRESS, "two.example")[0] == 0
    assert not os.path.exists(departure.path_of(mailbox.home))


def test_mail_that_a_session_wrote_at_the_last_moment_moves_too(hosts):
    one, two = hosts
    mailbox = full(one)
    departure.hide(mailbox.home)
    os.makedirs(f"{mailbox.home}/new")
    open(f"{mailbox.home}/new/1700000001.M2P2.host,S=1,W=1", "w").close()
    assert move(one, ADDRESS, "two.example")[0] == 0
    assert os.listdir(f"{two.mailboxes.find(ADDRESS).home}/new") == [
        "1700000001.M2P2.host,S=1,W=1"]


def test_a_move_can_be_given_up(directory_server, hosts):
    one, _ = hosts
    mailbox = full(one)
    one.rsh.write_text("#!/bin/sh\nexit 255\n")
    move(one, ADDRESS, "two.example")
    assert move(one, "--cancel", ADDRESS, "two.example")[0] == 0
    assert has_arrived(one) and mailbox.exists() and node_of(directory_server) == "one.example|t"


@pytest.mark.parametrize("address, node, words", [
    ("nobody123@chat.example", "two.example", "not in the directory"),
    (ADDRESS, "one.example", "not another host"), (ADDRESS, "three.example", "not another host"),
    ("x@other.example", "two.example", "not in a chat domain")])
def test_what_cannot_move_is_told_why(hosts, address, node, words):
    one, _ = hosts
    full(one)
    code, _, errors = move(one, address, node)
    assert code and words in errors and has_arrived(one)


def test_nobody_is_received_who_is_not_on_the_way(hosts):
    one, two = hosts
    full(one)
    code, _, errors = two.command("receive", ADDRESS)
    assert code == 1 and "not on its way" in errors


def test_a_host_is_drained(directory_server, hosts):
    one, two = hosts
    full(one), one.make("somebody2"), one.command("import")
    assert one.command("drain", "--dry-run", "two.example")[1]["accounts"] == 2
    code, result, errors = one.command("drain", "--rsh", str(one.rsh), "two.example")
    assert code == 0 and len(result["moved"]) == 2, errors
    assert has_arrived(two)
    assert [each["accepts"] for each in two.command("status")[1]] == [False, True]
    assert one.command("reconcile")[0] == 0
