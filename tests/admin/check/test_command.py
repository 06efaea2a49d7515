"""``chatmaild check`` as a whole, and what it finds about chatmaild itself."""

import json
import os
import pwd
from dataclasses import replace

import pytest
from captured import bad

from chatmaild import cli
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.admin.check import command as check, host as check_host, live, visitor as visitors
from chatmaild.admin.check.findings import failure, ok, unseen, warning
from chatmaild.admin.check.hostfiles import Identity
from chatmaild.admin.servers import doveconf, postconf
from chatmaild.config import inifile
from chatmaild.retention import runstate

NOW = 1_800_000_000
USER = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def host(public_path):
    """A configuration file and a mailboxes_dir that are in order."""
    root = public_path / "mail"
    (root / "chat.example.org").mkdir(parents=True)
    root.chmod(0o750)
    path = public_path / "chatmaild.ini"

    def write(text=""):
        path.write_text(f"[chatmaild]\nmail_domains = chat.example.org\nmailboxes_dir = {root}\n"
                        f"mail_user = {USER}\nmax_load_1m = 9999\nmin_available_memory = 0\n"
                        f"min_free_disk_space = 0\nmin_free_inodes = 0\n{text}")
        path.chmod(0o644)
        return inifile.load(path)
    runstate.save(write(), runstate.LastRun(NOW - 3600, NOW - 3600, 0, {}))
    return write


def judge(config, now=NOW):
    return bad(check_host.check(config, now))


def test_host_in_order(host):
    assert judge(host()) == {}


def test_idle_without_a_domain(host):
    path = host().path
    path.write_text("[chatmaild]\n")
    assert judge(inifile.load(path)) == {"idle": "warning"}


def test_all_is_not_well_where_nothing_could_be_tried(host):
    path = host().path
    path.write_text("[chatmaild]\n")
    assert [cli.main(["-c", str(path), "check", *options])
            for options in ([], ["--live"], ["--dns"])] == [0, 1, 1]


@pytest.mark.parametrize("options, needed", [
    (["--host", "mail.example.org"], "--host needs --live or --dns"),
    (["--probe", "example.org"], "--probe needs --dns"),
    (["--live", "--server", "192.0.2.53"], "--server needs --dns"),
    (["--live", "--address", "192.0.2.1"], "--address needs --dns"),
])
def test_options_that_would_do_nothing(host, capsys, options, needed):
    path = host().path
    path.write_text("[chatmaild]\n")
    assert cli.main(["-c", str(path), "check", *options]) == 2
    assert needed in capsys.readouterr().err
    assert cli.main(["-c", str(path), "check", "--live", "--dns", *options]) == 1
    assert needed not in capsys.readouterr().err


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_mode_of_the_file(host, mode):
    config = host()
    config.path.chmod(mode)
    assert judge(config) == {"config-mode": "failure"}


def test_no_such_mail_user(host):
    assert judge(replace(host(), mail_user="no-such-user")) == {"user": "failure"}


def test_mailboxes_directory_missing_or_open(host):
    config = host()
    config.mailboxes_dir.chmod(0o755)
    assert judge(config) == {"mailboxes-dir": "failure"}
    config.mailboxes_dir.rename(config.mailboxes_dir.with_name("moved"))
    assert judge(config) == {"mailboxes-dir": "failure"}


def test_domain_directory_missing(host):
    config = host()
    (config.mailboxes_dir / "chat.example.org").rmdir()
    assert judge(config) == {"domain-dir": "warning"}


def test_file_that_its_services_cannot_reach(host):
    config = host()
    stranger = Identity("x", 54321, 54321, frozenset({54321}))
    config.path.parent.chmod(0o700)
    findings = check_host.check(config, NOW, lambda name: stranger)
    assert bad(findings)["config-mode"] == "failure"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_mailbox_of_somebody_else(host):
    config = host()
    Mailboxes(config).find("abcdefghi@chat.example.org").create("$6$x", NOW)
    assert judge(config) == {}
    home = config.mailboxes_dir / "chat.example.org" / "abcdefghi@chat.example.org"
    for path in (home, home / "password"):
        os.chown(path, 1234, -1)
        assert judge(config) == {"mailbox-owner": "failure"}
        os.chown(path, os.geteuid(), -1)
    (home / "password").unlink()
    assert judge(config) == {}


def test_signups_switched_off(host):
    config = host()
    (config.path.parent / "nocreate").touch()
    assert judge(config) == {"nocreate": "warning"}


@pytest.mark.parametrize("code, setting", [
    ("load", {"max_load_1m": -1.0}), ("memory", {"min_available_memory": 1 << 60}),
    ("disk", {"min_free_disk_space": 1 << 60}), ("inodes", {"min_free_inodes": 1 << 60})])
def test_host_that_is_short_of_something_makes_no_account(host, code, setting):
    config = replace(host(), **setting)
    if code == "inodes" and not os.statvfs(config.mailboxes_dir).f_files:
        pytest.skip("this file system does not count inodes")
    assert judge(config) == {code: "warning"}
    key, = setting
    text, = [finding.text for finding in check_host.check(config, NOW) if finding.code == code]
    assert key in text and text.endswith(": no new account is made")
    visitor = visitors.invent(config, config.domains["chat.example.org"], "localhost", None)
    assert not visitor.is_made_by_login


def test_invite_mode_says_which_links_work(host):
    found = [f.text for f in check_host.check(host("signup = invite\n"), NOW)
             if f.code == "signup"]
    assert found == ["invite for chat.example.org: dcaccount: links do not work there, only those "
                     "of chatmaild invite"]


def test_deletion_that_does_not_run(host):
    config = host()
    assert judge(config, NOW + 3 * 86_400) == {"expire": "failure"}
    runstate.save(config, runstate.LastRun(NOW, None, 1, {}))
    assert judge(config) == {"expire": "failure"}
    with open(runstate.path(config), "w") as file:
        file.write("{")
    assert judge(config) == {"expire": "warning"}
    os.unlink(runstate.path(config))
    for days, findings in ((0, {}), (1, {}), (3, {"expire": "failure"})):
        os.utime(config.mailboxes_dir, (NOW, NOW - days * 86_400))    # when it was installed
        assert judge(config) == findings


def test_live_ends_with_findings_even_if_the_mailboxes_are_gone(host):
    config = host()
    (config.mailboxes_dir / "chat.example.org").rmdir()
    nobody = "127.0.0.199"
    assert bad(live.check(config, None, None, nobody)) == {
        "live-certificate": "failure", "live-imap": "failure", "live": "failure",
        "live-removal": "failure"}


def test_logins_that_are_not_recorded(host):
    config = host()
    runstate.save(config, runstate.LastRun(NOW, NOW, 0, {"chat.example.org": 3, "gone": 1}))
    assert judge(config) == {"last-login": "failure"}


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture
def command(host, monkeypatch, capsys):
    """`chatmaild check` on findings given."""
    path = host().path

    def run(findings, *options):
        monkeypatch.setattr(check, "examine", lambda config, args: iter(findings))
        code = cli.main(["-c", str(path), "check", *options])
        return code, capsys.readouterr().out
    return run


GOOD, ODD = ok("a", "place a", "fine"), warning("b", "place b", "odd", "line 1\nline 2")
HIDDEN, WRONG = unseen("c", "place c", "hidden", "run as root"), failure("d", "place d", "wrong")


@pytest.mark.parametrize("findings, code", [
    ([], 0), ([GOOD], 0), ([GOOD, ODD], 0), ([HIDDEN], 1), ([WRONG], 1), ([GOOD, ODD, WRONG], 1)])
def test_exit_code(command, findings, code):
    assert command(findings)[0] == command(findings, "--json")[0] == code


def test_text(command):
    assert command([GOOD, ODD, WRONG])[1] == (
        "ok       place a: fine\n"
        "warning  place b: odd\n"
        "             line 1\n"
        "             line 2\n"
        "FAILURE  place d: wrong\n"
        "\n"
        "1 ok, 1 warning, 1 failure\n"
    )
    assert "place a" not in command([GOOD, ODD], "--problems")[1]
    assert command([GOOD, ODD])[1].endswith("1 ok, 1 warning: all is well\n")


def test_json(command):
    document = json.loads(command([GOOD, WRONG], "--json")[1])
    assert document["ok"] is False
    assert document["counts"] == {"ok": 1, "warning": 0, "unseen": 0, "failure": 1}
    assert document["findings"][1] == {
        "level": "failure", "code": "d", "place": "place d", "text": "wrong", "cure": ""}


def test_broken_configuration_is_reported_and_exits_2(host, capsys):
    path = host().path
    path.write_text("[chatmaild]\nmail_domainz = x\nnonsense\n")
    assert cli.main(["-c", str(path), "check"]) == 2
    out = capsys.readouterr().out
    assert "did you mean mail_domains?" in out and "nonsense" in out and "2 failure" in out
    assert cli.main(["-c", str(path), "check", "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["findings"]) == 2


def test_programs_that_cannot_be_asked(host, monkeypatch, capsys):
    """Neither Postfix nor Dovecot: both are named, the rest is still looked at."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(postconf, "observe", refuse(postconf.PostfixError))
    monkeypatch.setattr(doveconf, "observe", refuse(doveconf.DovecotError))
    assert cli.main(["-c", str(host().path), "check", "--json"]) == 1
    found = [f["code"] for f in json.loads(capsys.readouterr().out)["findings"]
             if f["level"] == "failure"]
    assert found[:2] == ["postfix", "dovecot"]
    assert "socket-missing" in found


def refuse(error, text="is not installed"):
    def run(*args, **kwargs):
        raise error(text)
    return run


def test_loop_of_parameters_is_explained(host, monkeypatch, capsys):
    """What Postfix 3.7 and 3.10 say to smtpd_milters = $chat_submission_milters in master.cf, when
    that in turn names $smtpd_milters. No service of it starts."""
    monkeypatch.setattr(postconf, "observe", refuse(
        postconf.PostfixError, "postconf: fatal: macro processing error"))
    monkeypatch.setattr(doveconf, "observe", refuse(doveconf.DovecotError, "x"))
    cli.main(["-c", str(host().path), "check"])
    assert "must not name $smtpd_milters" in capsys.readouterr().out


def test_complaint_of_a_tool_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in "postconf", "doveconf":
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{name}: fatal: macro error' >&2; exit 1")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(postconf.PostfixError, match="^postconf: fatal: macro error$"):
        postconf.observe()
    with pytest.raises(doveconf.DovecotError, match="^doveconf: fatal: macro error$"):
        doveconf.observe()
    with pytest.raises(postconf.PostfixError, match="not installed: is there a Postfix"):
        postconf.run([str(tmp_path / "gone")])


@pytest.mark.parametrize("option", ["--host", "--probe"])
@pytest.mark.parametrize("name", [
    "", "two words", "x" * 64 + ".example", "192.0.2.300:25", "\udcff"])
def test_what_can_be_no_host_is_wrong_usage(option, name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["check", "--dns", option, name])
    assert end.value.code == 2
    assert "neither the name of a host nor its address" in capsys.readouterr().err
