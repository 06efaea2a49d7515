"""``chatmaild directory move``, ``drain`` and ``receive`` between two hosts."""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from directoryhosts import joined
from dying import killed_at
from rig.until import until

from chatmaild.accounts import contents, departure
from chatmaild.accounts.directory import Directory
from chatmaild.errors import DirectoryError
from chatmaild.push.tokens import DeviceTokens

ADDRESS = "somebody1@chat.example"
SRC = os.path.abspath("src")


@pytest.fixture
def hosts(directory_server, tmp_path, capsys):
    one, two = joined(directory_server, tmp_path, capsys)
    for host, other in ((one, two), (two, one)):
        host.rsh, host.peer = host.ini.with_name("rsh"), other.ini
        leads_to(host)
        host.rsh.chmod(0o755)
    return one, two


def leads_to(host, before=""):
    """It can run a command at the other host; `before` are lines of shell that come first."""
    host.rsh.write_text(f"#!/bin/sh\nshift 3\n{before}\nPYTHONPATH={SRC} exec {sys.executable} "
                        f"-m chatmaild -c {host.peer} directory \"$@\"\n")


RECEIVE_FAILS = 'test "$1" = receive && exit 255'
IS_REACHED = 'test "$1" = status && exit 0'


def killed(host, function, when):
    """The other end is killed `when` ("before" or "after") it has called that function."""
    return (f"{IS_REACHED}\nPYTHONPATH={SRC} exec {sys.executable} "
            f'{Path(__file__).parents[1]}/dying.py {function} {when} -c {host.peer} directory "$@"')


class Killed(BaseException):
    pass


def dies(monkeypatch, owner, name, call=1, after=True):
    """The process ends at that call of a function, when it has done its work or before."""
    function, calls = getattr(owner, name), []

    def dying(*arguments):
        calls.append(name)
        if len(calls) == call and not after:
            raise Killed
        result = function(*arguments)
        if len(calls) == call:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, dying)


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


def killed_while_it_moves(monkeypatch, host, death):
    """Begin to move the account, and die at a place of `DEATHS`."""
    with monkeypatch.context() as context, pytest.raises(Killed):
        dies(context, *death)
        move(host, ADDRESS, "two.example")


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
    assert lies_nowhere(one)
    assert os.stat(mailbox.home).st_mode & 0o777 == 0o500, "a late delivery would get lost"
    assert move(two, ADDRESS, "one.example")[0] == 0 and has_arrived(one)


DEATHS = {
    "it is marked": (Directory, "begin_move"),
    "it is hidden": (departure, "hide"),
    "it is about to be sent": (contents, "export", 1, False),
    "it is about to be removed": (departure, "remove", 1, False),
}


def emptied(server, *hosts):
    """There is nobody, on no disk and not in the directory."""
    server.sql("DELETE FROM account")
    for host in hosts:
        shutil.rmtree(host.mailboxes.root)
        host.mailboxes.prepare()


def test_a_move_whose_process_is_killed_anywhere_goes_on(directory_server, hosts):
    one, two = hosts
    leads_to(one, before=IS_REACHED)
    tokens = DeviceTokens(one.ini.with_name("tokens"))
    tokens.prepare()
    for number in itertools.count(1):
        emptied(directory_server, one, two)
        full(one)
        tokens.add(tokens.ref(ADDRESS), "a token", time.time())
        has_died = killed_at(number, str(one.ini.parent), [
            "-c", str(one.ini), "directory", "move", "--rsh", str(one.rsh), ADDRESS, "two.example"])
        is_here = one.mailboxes.find(ADDRESS).exists() or departure.is_hidden(home(one))
        assert is_here or has_arrived(two), f"it is nowhere, after step {number}"
        code, _, errors = move(one, ADDRESS, "two.example")
        assert code == 0 or "lives on two.example" in errors, number
        assert has_arrived(two) and lies_nowhere(one), number
        assert not tokens.current(tokens.ref(ADDRESS), time.time()), f"phones ring, {number}"
        if not has_died:
            break
    assert number > 15


def sent(host, file):
    """The account is on its way, and `file` has what the other end is to get."""
    leads_to(host, before=f"{IS_REACHED}\ncat >{file}\nexit 255")
    assert move(host, ADDRESS, "two.example")[0] == 1
    leads_to(host)


def test_a_move_whose_other_end_is_killed_anywhere_goes_on(directory_server, hosts, tmp_path):
    one, two = hosts
    full(one)
    archive = str(tmp_path / "archive")
    sent(one, archive)
    receive = ["-c", str(two.ini), "directory", "receive", ADDRESS]
    for number in itertools.count(1):
        has_died = killed_at(number, str(two.mailboxes.root), receive, archive)
        assert two.command("reconcile")[0] in (0, 1)
        killed_at(0, "", receive, archive)      # the old home sends it again
        assert has_arrived(two), number
        assert two.command("reconcile")[0] == 0
        if not has_died:
            break
        directory_server.sql("UPDATE account SET moving = node, "
                             "node = (SELECT id FROM node WHERE name = 'one.example')")
        shutil.rmtree(two.mailboxes.root)
        two.mailboxes.prepare()
    assert number > 15


def test_two_ends_that_take_one_account_at_a_time_do_not_lose_it(hosts, monkeypatch, tmp_path):
    """The second discarded what the first had just received, and the old home removed its own."""
    one, two = hosts
    full(one)
    archive = tmp_path / "archive"
    sent(one, archive)
    end_move = Directory.end_move

    def beside_another(*arguments):
        command = [one.rsh, "two.example", "chatmaild", "directory", "receive", ADDRESS]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as other:
            other.stdin.write(archive.read_bytes()[:2048])
            other.stdin.flush()
            until(lambda: other.poll() is not None or not os.path.exists(
                departure.arrival_of(home(two))), "the other one to begin, or give way")
            assert end_move(*arguments)
            with contextlib.suppress(BrokenPipeError):
                other.stdin.write(archive.read_bytes()[2048:])
                other.stdin.close()
        assert other.returncode == 1
        return True

    monkeypatch.setattr(Directory, "end_move", beside_another)
    with open(archive) as source:
        stdin = os.dup(0)
        os.dup2(source.fileno(), 0)
        try:
            assert two.command("receive", ADDRESS)[0] == 0
        finally:
            os.dup2(stdin, 0)
            os.close(stdin)
    assert has_arrived(two)


def home(host):
    return host.mailboxes.find(ADDRESS).home


def lies_nowhere(host):
    return not os.listdir(home(host)) and not departure.is_hidden(home(host))


def test_nothing_changes_while_the_other_host_is_not_reached(directory_server, hosts):
    one, _ = hosts
    full(one), one.make("somebody2"), one.command("import")
    leads_to(one, "exit 255")
    for command in (("move", "--rsh", str(one.rsh), ADDRESS, "two.example"),
                    ("drain", "--rsh", str(one.rsh), "two.example")):
        code, _, errors = one.command(*command)
        assert code == 1 and "nothing has changed" in errors and errors.count("\n") == 1
    assert has_arrived(one) and directory_server.sql("SELECT count(moving) FROM account") == "0"
    assert one.command("status")[1][0]["accepts"]
    assert one.command("move", "--rsh", "/no/such/program", ADDRESS, "two.example")[2].startswith(
        "chatmaild: /no/such/program: No such file")


def test_a_host_is_not_drained_into_one_that_is_lost_meanwhile(directory_server, hosts):
    """One account waits, as it says; the others stay where they are."""
    one, two = hosts
    for number in range(4):
        one.make(f"somebody{number}")
    one.command("import")
    is_lost = one.rsh.with_name("lost")
    leads_to(one, f'test "$1 $2" = "receive somebody1@chat.example" && touch {is_lost}\n'
             f"test -e {is_lost} && exit 255")
    code, result, errors = one.command("drain", "--rsh", str(one.rsh), "two.example")
    assert code == 1 and result["moved"] == ["somebody0@chat.example"]
    assert len(errors.splitlines()) == 2 and "somebody1@chat.example: has not arrived" in errors
    assert directory_server.sql("SELECT count(*) FROM account WHERE moving IS NOT NULL") == "1"


def test_a_host_is_not_drained_without_the_directory(hosts, monkeypatch):
    """It is complained of once, and not for each account."""
    one, _ = hosts
    for number in range(4):
        one.make(f"somebody{number}")
    one.command("import")

    def silent(*_):
        raise DirectoryError("the directory does not answer")

    monkeypatch.setattr(Directory, "begin_move", silent)
    code, result, errors = one.command("drain", "--rsh", str(one.rsh), "two.example")
    assert code == 1 and errors == "chatmaild: the directory does not answer\n"
    assert not result["moved"] and one.mailboxes.find("somebody3@chat.example").exists()


def test_mail_that_a_session_wrote_at_the_last_moment_moves_too(hosts):
    one, two = hosts
    mailbox = full(one)
    departure.hide(mailbox.home)
    os.rmdir(mailbox.home)      # a session made its own before we could put one there
    os.makedirs(f"{mailbox.home}/new")
    open(f"{mailbox.home}/new/1700000001.M2P2.host,S=1,W=1", "w").close()
    assert move(one, ADDRESS, "two.example")[0] == 0
    assert os.listdir(f"{two.mailboxes.find(ADDRESS).home}/new") == [
        "1700000001.M2P2.host,S=1,W=1"]


@pytest.mark.parametrize("death", [DEATHS["it is marked"], DEATHS["it is hidden"],
                                   DEATHS["it is about to be sent"]])
def test_a_move_can_be_given_up(directory_server, hosts, monkeypatch, death):
    one, _ = hosts
    mailbox = full(one)
    killed_while_it_moves(monkeypatch, one, death)
    assert move(one, "--cancel", ADDRESS, "two.example")[0] == 0
    assert has_arrived(one) and mailbox.exists() and node_of(directory_server) == "one.example|t"
    assert move(one, "--cancel", ADDRESS, "two.example")[0] == 0, "there is nothing to do"


def test_a_move_that_is_over_cannot_be_given_up(directory_server, hosts, monkeypatch):
    one, two = hosts
    full(one)
    killed_while_it_moves(monkeypatch, one, DEATHS["it is about to be removed"])
    code, _, errors = move(one, "--cancel", ADDRESS, "two.example")
    assert code == 1 and "lives on two.example" in errors
    assert has_arrived(two) and not one.mailboxes.find(ADDRESS).exists()


def test_a_move_that_was_given_up_does_not_arrive(directory_server, hosts):
    """A copy that the other host has by then is not used, and not taken for a later one."""
    one, two = hosts
    mailbox = full(one)
    leads_to(one, before=killed(one, "Directory.end_move", "before"))
    assert move(one, ADDRESS, "two.example")[0] == 1
    assert move(one, "--cancel", ADDRESS, "two.example")[0] == 0
    code, result, _ = two.command("reconcile")
    assert code == 1 and "was given up" in result["problems"][0]
    open(f"{mailbox.home}/new/1700000001.M2P2.host,S=1,W=1", "w").close()
    leads_to(one)
    assert move(one, ADDRESS, "two.example")[0] == 0
    assert os.listdir(f"{home(two)}/new") == ["1700000001.M2P2.host,S=1,W=1"]


def test_reconcile_brings_back_what_was_about_to_move_by_an_older_backup(directory_server, hosts):
    """The directory was restored from before the move began; the row may be missing, too."""
    one, _ = hosts
    mailbox = full(one)
    leads_to(one, RECEIVE_FAILS)
    for restore in ("UPDATE account SET moving = NULL", "DELETE FROM account"):
        assert move(one, ADDRESS, "two.example")[0] == 1
        code, result, _ = one.command("reconcile")
        assert code == 1 and "--cancel keeps it here" in result["problems"][0]
        directory_server.sql(restore)
        assert one.command("reconcile", "--dry-run")[0] == 1 and not mailbox.exists()
        assert one.command("reconcile")[0] == 0
        assert has_arrived(one) and node_of(directory_server) == "one.example|t"


def test_reconcile_removes_what_has_moved_and_nothing_else(directory_server, hosts, monkeypatch):
    one, two = hosts
    full(one)
    killed_while_it_moves(monkeypatch, one, DEATHS["it is about to be removed"])
    directory_server.sql("UPDATE account SET hash = '{PLAIN}of somebody else'")
    code, result, _ = one.command("reconcile")
    assert code == 1 and "another password" in result["problems"][0]
    assert departure.is_hidden(home(one))
    two.command("reconcile")
    assert one.command("reconcile")[0] == 0 and lies_nowhere(one)


@pytest.mark.parametrize("address, node, words", [
    ("nobody123@chat.example", "two.example", "not in the directory"),
    (ADDRESS, "one.example", "not another host"), (ADDRESS, "three.example", "not another host"),
    ("x@other.example", "two.example", "not in a chat domain")])
def test_what_cannot_move_is_told_why(hosts, address, node, words):
    one, _ = hosts
    full(one)
    for options in ([], ["--dry-run"]):
        code, _, errors = move(one, *options, address, node)
        assert code and words in errors and has_arrived(one)


def test_whether_an_account_can_move_is_told_without_moving_it(directory_server, hosts):
    one, _ = hosts
    full(one)
    code, result, _ = move(one, "--dry-run", ADDRESS, "two.example")
    assert code == 0 and result == {"address": ADDRESS, "moved": False, "node": "two.example",
                                    "dry_run": True}
    assert node_of(directory_server) == "one.example|t" and has_arrived(one)
    leads_to(one, "exit 255")
    assert move(one, "--dry-run", ADDRESS, "two.example")[0] == 1
    with pytest.raises(SystemExit):
        move(one, "--dry-run", "--cancel", ADDRESS, "two.example")


def test_nobody_is_received_who_is_not_on_the_way(hosts):
    one, two = hosts
    full(one)
    code, _, errors = two.command("receive", ADDRESS)
    assert code == 1 and "not on its way" in errors


def test_a_dry_run_of_a_drain_asks_the_other_host_and_tells_who_stays(directory_server, hosts):
    one, _ = hosts
    full(one), one.make("somebody2").block(), one.command("import")
    dry = ("drain", "--dry-run", "--rsh", str(one.rsh), "two.example")
    code, result, errors = one.command(*dry)
    assert code == 1 and errors == ("chatmaild: somebody2@chat.example: is blocked, so it stays; "
                                    "unblock it first\n")
    assert (result["accounts"], result["moved"]) == (2, [ADDRESS])
    leads_to(one, before="exit 255")
    code, _, errors = one.command(*dry)
    assert code == 1 and "failed with exit code 255; nothing has changed" in errors
    assert has_arrived(one) and one.command("status")[1][0]["accepts"]


def test_a_host_is_drained(directory_server, hosts):
    one, two = hosts
    full(one), one.make("somebody2"), one.command("import")
    code, result, errors = one.command("drain", "--rsh", str(one.rsh), "two.example")
    assert code == 0 and len(result["moved"]) == 2, errors
    assert has_arrived(two)
    assert [each["accepts"] for each in two.command("status")[1]] == [False, True]
    assert one.command("reconcile")[0] == 0
    assert one.command("drain")[0] == 2
    assert one.command("drain", "--cancel")[1] == {"node": "one.example", "accepts": True}
    assert [each["accepts"] for each in two.command("status")[1]] == [True, True]
