"""``chatmaild accounts``, as an admin calls it."""

import errno
import gzip
import io
import json
import mailbox
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import chatmaild
from chatmaild import cli
from chatmaild.accounts import contents, layout
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.daemon import privileges
from chatmaild.disk import atomic
from chatmaild.push.tokens import DeviceTokens

ALICE = "alice@chat.example.org"
BOB = "bob.b@chat.example.org"
DAY = 86_400
NOW = 1_800_000_000

MESSAGE = b"From: a@b\r\n\r\nhello\r\n"


@pytest.fixture
def host(tmp_path):
    path = tmp_path / "chatmaild.ini"
    path.write_text(
        "[chatmaild]\nmail_domains = chat.example.org other.example\nmail_user = root\n"
        f"mailboxes_dir = {tmp_path}/mail\npush_tokens_dir = {tmp_path}/tokens\n")
    (tmp_path / "tokens").mkdir(mode=0o700)
    Mailboxes(inifile.load(path)).prepare()
    return path


@pytest.fixture
def command(host, capsys):
    """`chatmaild accounts ...`: exit code, stdout, stderr."""
    def run(*arguments):
        code = cli.main(["-c", str(host), "accounts", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err
    return run


@pytest.fixture
def find(host):
    return Mailboxes(inifile.load(host)).find


def deliver(home, name="1799000000.M1P1.mx,S=20,W=21:2,S", folder="", kind="cur", body=MESSAGE):
    directory = os.path.join(home, folder, kind)
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/{name}", "wb") as file:
        file.write(body)


@pytest.fixture
def alice(find):
    """An account with two messages, 20 and 5,000 octets."""
    box = find(ALICE)
    box.create("{SHA512-CRYPT}$6$salt$secret", NOW)
    deliver(box.home)
    deliver(box.home, "1799000001.M1P1.mx,S=5000,W=5100", ".Chats", "new",
            gzip.compress(b"x" * 5000))
    return box


def test_list(command, alice, find):
    find(BOB).block()
    assert command("list") == (0, "alice@chat.example.org\t2027-01-15\t2\t4.9 KiB\tok\n"
                                  "bob.b@chat.example.org\t-\t0\t0 B\tblocked, no account\n", "")
    assert command("list", "other.example") == (0, "", "")
    assert command("list", "nowhere.example")[0] == 2
    listed = json.loads(command("list", "--json")[1])
    assert [account["address"] for account in listed] == [ALICE, BOB]
    assert listed[0]["octets"] == 5020 and listed[0]["last_login"] == "2027-01-15"


def test_list_knows_who_was_moved_aside_by_a_killed_run(command, alice):
    os.rename(alice.home, layout.aside(alice.home))
    assert command("list")[1].startswith(ALICE)
    assert alice.exists()


def test_list_goes_on_while_somebody_holds_the_lock(command, alice, find, monkeypatch):
    find(BOB).create("$6$x", NOW)
    os.rename(alice.home, layout.aside(alice.home))
    monkeypatch.setattr(atomic, "LOCK_TIMEOUT", 0.01)
    with atomic.locked(os.path.dirname(alice.home)):
        code, out, err = command("list")
    assert code == 1 and out.startswith("bob") and "locked" in err


def test_list_goes_on_behind_a_broken_mailbox(command, alice, find, monkeypatch):
    find(BOB).create("$6$x", NOW)
    usage = contents.usage

    def broken(home):
        if "alice" in home:
            raise contents.StoreError(f"{home}: Input/output error")
        return usage(home)
    monkeypatch.setattr(contents, "usage", broken)
    code, out, err = command("list")
    assert code == 1 and out.startswith("bob") and "Input/output error" in err


def test_each_account_is_shown_before_the_next_is_looked_at(command, alice, find, monkeypatch):
    """Else a million of them would be in memory at once."""
    find(BOB).create("$6$x", NOW)
    usage = contents.usage

    def interrupted(home):
        if "bob" in home:
            raise KeyboardInterrupt
        return usage(home)
    monkeypatch.setattr(contents, "usage", interrupted)
    for arguments in (), ("--sort", "last-login", "--reverse"), ("--json",):
        code, out, _ = command("list", *arguments)
        assert code == 130 and ALICE in out and BOB not in out


def test_show_has_no_secrets(command, alice):
    code, out, _ = command("show", ALICE.upper())
    assert code == 0 and "SHA512-CRYPT" in out and "4.9 KiB of 500 MiB" in out
    shown = command("show", ALICE, "--json")[1]
    assert json.loads(shown)["password_scheme"] == "SHA512-CRYPT"
    assert "salt" not in out + shown


@pytest.mark.parametrize("arguments, code", [
    (("show", BOB), 1),
    (("show", "alice@elsewhere.example"), 2),
    (("show", "../x@chat.example.org"), 2),
    (("export", BOB, "/nonexistent/x"), 1),
    (("delete", "--yes", BOB), 1),
    (("set", BOB, "--incoming-cleartext", "yes"), 1),
    (("create", "a..b@chat.example.org"), 2),
    (("create", "name+tag@chat.example.org"), 2),
    (("create", "x@elsewhere.example"), 2),
])
def test_what_cannot_be_done(command, arguments, code):
    assert command(*arguments)[0] == code


def test_a_name_that_cannot_be_is_told_from_another_domain(command):
    assert "not a name that a mailbox can have" in command("show", "a+b@chat.example.org")[2]
    assert "not in a chat domain" in command("show", "a+b@elsewhere.example")[2]


def test_create(command, find):
    code, out, _ = command("create", "postmaster@chat.example.org", "--json")
    made = json.loads(out)
    assert code == 0 and len(made["password"]) == 22
    assert made["link"] == f"dclogin:postmaster@chat.example.org?p={made['password']}&v=1"
    assert find("postmaster@chat.example.org").hash().startswith("{SHA512-CRYPT}$6$")
    assert command("create", "postmaster@chat.example.org") == (
        1, "", "chatmaild: postmaster@chat.example.org: there is such an account already\n")


@pytest.mark.parametrize("password, code", [
    (b"long enough \xff", 0), (b"long enough\n", 0), (b"short\n", 2), (b"x" * 512, 2), (b"", 2),
    (b"tab\tinside this", 2),
])
def test_create_with_a_password_of_ones_own(command, find, tmp_path, password, code):
    (tmp_path / "password").write_bytes(password)
    done, out, _ = command("create", ALICE, "--password-file", str(tmp_path / "password"))
    assert done == code and find(ALICE).exists() == (code == 0)
    assert "enough" not in out and "dclogin" not in out


def test_block_and_unblock(command, alice, find):
    assert command("block", ALICE, BOB, ALICE)[0] == 0
    assert alice.is_blocked() and find(BOB).is_blocked() and alice.exists()
    assert "unblocked" in command("unblock", ALICE)[1]
    assert not alice.is_blocked()
    assert "was not blocked" in command("unblock", ALICE)[1]
    assert command("create", BOB)[0] == 1
    assert json.loads(command("unblock", BOB, "--json")[1]) == [{"address": BOB, "done": True}]


def test_delete(command, alice, find, tmp_path):
    token = tmp_path / "tokens" / f"{DeviceTokens(tmp_path / 'tokens').ref(ALICE)}.json"
    token.write_text("{}")
    code, out, _ = command("delete", "--yes", ALICE)
    assert code == 0 and "makes it anew" in out
    assert not os.path.exists(alice.home) and not token.exists()
    code, out, err = command("delete", "--yes", "--json", ALICE)
    assert code == 1 and json.loads(out)[0]["done"] is False


def test_delete_says_nothing_of_rebirth_where_nobody_signs_up(command, alice, host):
    host.write_text(host.read_text() + "signup = closed\n")
    assert command("delete", "--yes", ALICE)[1] == f"{ALICE}: deleted\n"


def test_delete_and_block(command, alice, find):
    assert command("delete", "--yes", "--block", ALICE, BOB)[0] == 0
    for box in (alice, find(BOB)):
        assert box.is_blocked() and not box.exists() and os.listdir(box.home) == ["blocked"]


def test_what_is_blocked_stays_so_when_deleted(command, alice):
    alice.block()
    assert "blocked" in command("delete", "--yes", ALICE)[1]
    assert alice.is_blocked() and not alice.exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("answer, deleted", [
    ("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False), ("", False),
    ("yesterday", False)])
def test_delete_asks(command, alice, monkeypatch, answer, deleted):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    code, _, err = command("delete", ALICE)
    assert f"Delete {ALICE} with all mail? [y/N]" in err
    assert (code == 0) == deleted and alice.exists() != deleted


def test_delete_asks_nobody_in_a_script(command, alice, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, _, err = command("delete", ALICE)
    assert code == 2 and "--yes" in err and alice.exists()


def test_set(command, alice):
    assert command("set", ALICE, "--incoming-cleartext", "yes")[0] == 0
    assert not alice.enforces_encryption()
    assert "takes cleartext" in command("list")[1]
    assert json.loads(command("set", ALICE, "--incoming-cleartext", "no", "--json")[1]) == {
        "address": ALICE, "incoming_cleartext": False}
    assert alice.enforces_encryption()


def test_set_what_an_account_has_for_itself(command, alice):
    assert command("set", ALICE, "--quota", "1G", "--burst", "5")[1] == (
        f"{ALICE}: max_mailbox_size = 1 GiB\n{ALICE}: max_user_send_burst_size = 5\n")
    assert command("set", ALICE, "--burst", "default")[1] == (
        f"{ALICE}: max_user_send_burst_size is as the domain has it\n")
    assert "own setting         max_mailbox_size = 1 GiB\n" in command("show", ALICE)[1]
    code, out, _ = command("set", ALICE, "--quota", "1G", "--rate", "600", "--retention", "3",
                           "--json")
    assert code == 0 and json.loads(out)["settings"] == dict(alice.settings()) == {
        "max_mailbox_size": 1 << 30, "max_user_send_per_minute": 600, "delete_mails_after": 3}
    assert "4.9 KiB of 1 GiB" in command("show", ALICE)[1]
    assert "own settings" in command("list")[1]
    assert command("set", ALICE, "--rate", "default", "--burst", "50")[0] == 0
    assert alice.settings()["max_user_send_burst_size"] == 50
    for option in ("--quota", "--burst", "--retention"):
        assert command("set", ALICE, option, "default")[0] == 0
    assert alice.settings() == {} and "settings" not in os.listdir(alice.home)


@pytest.mark.parametrize("arguments, said", [
    ((), "--quota"), (("--quota", "much"), "500M"), (("--rate", "0"), "1 to 100000"),
    (("--retention", "21"), "is 20 in chat.example.org"), (("--large-retention", "8"), "is 7")])
def test_settings_that_an_account_cannot_have(command, alice, arguments, said):
    code, out, err = command("set", ALICE, *arguments)
    assert code == 2 and said in err and alice.settings() == {}


def test_settings_that_cannot_be_read_are_written_anew(command, alice):
    Path(alice.home, "settings").write_text("max_mailbox_size = lots\n")
    assert "write it anew" in command("show", ALICE)[2]
    assert command("set", ALICE, "--quota", "1M")[0] == 0
    assert alice.settings() == {"max_mailbox_size": 1 << 20}


def test_a_new_password(command, alice, tmp_path):
    before, ended = alice.hash(), alice.ended()
    code, out, _ = command("password", ALICE, "--json")
    assert code == 0 and json.loads(out)["link"].startswith(f"dclogin:{ALICE}?p=")
    assert alice.hash() != before and alice.last_login() == NOW // DAY * DAY
    assert ended is None and alice.ended() is not None, "sessions of before must not go on"
    assert sorted(os.listdir(alice.home)) == [".Chats", "cur", "enforceE2EEincoming", "password"]
    (tmp_path / "secret").write_text("one of their own\n")
    assert "own" not in command("password", ALICE, "--password-file", str(tmp_path / "secret"))[1]
    assert command("password", BOB)[0] == 1


def test_search_and_sort(command, alice, find):
    find(BOB).create("$6$x", NOW - 40 * DAY)

    def listed(*arguments):
        return [row.split("@")[0] for row in command("list", *arguments)[1].splitlines()]
    assert listed("--match", "ALI") == listed("--match", "a*@chat.*") == ["alice"]
    assert listed("--match", "a*") == ["alice"] and listed("--match", "?") == []
    assert listed("--match", "b.b@") == ["bob.b"] and listed("--match", "[ab]*") == []
    assert listed("--match", "*" * 100_000 + "!") == listed("--match", "*e*" * 50 + "!") == []
    assert listed("--sort", "size") == ["bob.b", "alice"]
    assert listed("--sort", "last-login", "--reverse") == ["alice", "bob.b"]
    assert listed("--sort", "messages") == listed("--reverse") == ["bob.b", "alice"]
    assert command("list", "--names", "--match", "ali*")[1] == f"{ALICE}\n"


@pytest.mark.parametrize("arguments, usage", [
    (("delete",), "chatmaild accounts delete"), (("delete", "--now", BOB), "accounts delete"),
    (("list", "--sort", "colour"), "chatmaild accounts list"), ((), "chatmaild accounts ")])
def test_a_mistake_shows_the_usage_of_its_action(command, capsys, arguments, usage):
    with pytest.raises(SystemExit):
        command(*arguments)
    assert usage in capsys.readouterr().err.partition("error:")[0]


def test_export_is_a_maildir_that_others_can_read(command, alice, tmp_path):
    deliver(alice.home, "foreign name", body=b"")
    target = tmp_path / "alice.tar"
    assert command("export", ALICE, str(target)) == (0, f"3 messages written to {target}\n", "")
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as archive:
        archive.extractall(tmp_path / "out")
    inbox = mailbox.Maildir(tmp_path / "out" / ALICE, create=False)
    assert sorted(message.get_payload() for message in inbox) == ["", "hello\n"]
    (message,) = inbox.get_folder("Chats").values()
    assert inbox.list_folders() == ["Chats"] and message.as_bytes().strip() == b"x" * 5000
    found = {name for _, _, files in os.walk(tmp_path / "out") for name in files}
    assert "password" not in found and "enforceE2EEincoming" not in found
    assert command("export", ALICE, str(target))[0] == 2     # never overwrites


def export_to(stdout, host):
    source = str(Path(chatmaild.__file__).parents[1])
    return subprocess.run([sys.executable, "-m", "chatmaild", "-c", str(host), "accounts", "export",
                           ALICE], stdout=stdout, stderr=subprocess.PIPE,
                          env={**os.environ, "PYTHONPATH": source})


def test_export_to_a_pipe(host, alice):
    done = export_to(subprocess.PIPE, host)
    assert done.returncode == 0 and done.stderr == b""
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert sum(member.isfile() for member in archive) == 2


def test_export_of_damaged_gzip_fails(command, alice, tmp_path):
    deliver(alice.home, "broken", body=b"\x1f\x8bnonsense")
    code, _, err = command("export", ALICE, str(tmp_path / "x.tar"))
    assert code == 1 and "damaged gzip" in err


def test_export_to_a_full_disk(host, alice):
    with open("/dev/full", "wb") as full:
        done = export_to(full, host)
    assert done.returncode == 1 and b"No space left" in done.stderr


@pytest.mark.parametrize("error, code", [
    (OSError(errno.ENOSPC, "No space left on device"), 1), (KeyboardInterrupt(), 130)])
def test_an_export_that_failed_can_be_tried_again(command, alice, tmp_path, monkeypatch, error,
                                                  code):
    target = tmp_path / "alice.tar"
    with monkeypatch.context() as broken:
        def export(home, address, out, *_):
            out.write(b"x")
            raise error
        broken.setattr(contents, "export", export)
        assert command("export", ALICE, str(target))[0] == code
    assert not target.exists()
    assert command("export", ALICE, str(target))[0] == 0 and target.stat().st_size


def test_links_in_a_mailbox_are_not_followed(alice, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    os.symlink(secret, f"{alice.home}/cur/1799000000.M1P1.mx,S=6")
    os.symlink(tmp_path, f"{alice.home}/.Folder")
    complaints = []
    assert contents.export(alice.home, "x", out := io.BytesIO(), complaints.append) == 2
    assert "1799000000.M1P1.mx" in complaints[0] and len(complaints) == 1
    assert b"secret" not in out.getvalue()
    assert contents.usage(alice.home).messages == 3


def test_usage_of_no_mailbox(tmp_path):
    assert contents.usage(str(tmp_path / "gone")) == contents.Usage(0, 0)


def test_root_becomes_the_owner_before_it_does_anything(host, monkeypatch, capsys):
    seen = []

    class Stop(Exception):
        pass

    def become(user):
        seen.append(user)
        raise Stop
    monkeypatch.setattr(privileges, "become", become)
    for arguments in (["list"], ["create", ALICE], ["block", ALICE], ["delete", "--yes", ALICE]):
        with pytest.raises(Stop):
            cli.main(["-c", str(host), "accounts", *arguments])
    with pytest.raises(Stop):
        cli.main(["-c", str(host), "invite", "list"])
    assert seen == ["root"] * 5
    assert os.listdir(host.parent / "mail" / "chat.example.org") == []


def test_table_at_a_terminal(command, alice, monkeypatch):
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    command("list")
    assert terminal.getvalue() == (
        "ADDRESS                 LAST LOGIN  MESSAGES     SIZE  STATE\n"
        "alice@chat.example.org  2027-01-15         2  4.9 KiB  ok\n")
