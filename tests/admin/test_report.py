"""`chatmaild report`: what it counts, and the three forms in which it shows that."""

import json
import os

import pytest

from chatmaild import cli
from chatmaild.config import inifile
from chatmaild.push import metrics as push_metrics
from chatmaild.push.metrics import Standing
from chatmaild.retention import runstate
from chatmaild.retention.runstate import LastRun

NOW = 1_800_000_000
DAY = 86_400
DOMAIN = "chat.example"


class Host:
    def __init__(self, path, capsys):
        self.mail = path / "mail"
        self.ini = path / "chatmaild.ini"
        self.capsys = capsys
        (self.mail / DOMAIN).mkdir(parents=True)
        self.ini.write_text(f"[chatmaild]\nmail_domains = {DOMAIN} empty.example\n"
                            f"mailboxes_dir = {self.mail}\nmax_mailbox_size = 10M\n"
                            f"push_metrics_file = {path}/push.prom\n")
        self.push = path / "push.prom"

    def mailbox(self, local, login=0, messages=()):
        """`messages`: pairs of age in days and size."""
        home = self.mail / DOMAIN / f"{local}@{DOMAIN}"
        for kind in ("new", "cur", "tmp"):
            (home / kind).mkdir(parents=True)
        if login is not None:
            (home / "password").touch()
            os.utime(home / "password", (NOW // DAY * DAY - login * DAY,) * 2)
        for number, (days, size) in enumerate(messages):
            name = f"{NOW - int(days * DAY)}.M{number}P1.host,S={size}"
            (home / "new" / name).touch()
        return home

    def last_run(self, **fields):
        runstate.save(inifile.load(self.ini), LastRun(
            **{"finished": NOW, "good": NOW, "problems": 0, "held_back": {}} | fields))

    def report(self, *arguments, code=0):
        assert cli.main(["-c", str(self.ini), "report", *arguments]) == code
        return self.capsys.readouterr()


@pytest.fixture
def host(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)
    return Host(tmp_path, capsys)


def counts(classes):
    return {each["up_to"]: each["count"] for each in classes if each["count"]}


def test_counts_accounts_messages_and_octets(host):
    host.mailbox("today", 0, [(0.5, 10_000), (2, 10_001), (20.5, 300_000)])
    host.mailbox("week", 5)
    host.mailbox("gone", 95)
    host.mailbox("none", None, [(1, 50)])
    host.mailbox("full", 0, [(0.1, 9 << 20)])
    folder = host.mailbox("folder") / ".A" / "cur"
    folder.mkdir(parents=True)
    (folder / "foreign").write_bytes(b"x" * 700)
    os.utime(folder / "foreign", (NOW - 50 * DAY,) * 2)
    host.last_run()
    found = json.loads(host.report("--json").out)["domains"]
    one = found[DOMAIN]
    assert (one["accounts"], one["without_account"], one["messages"]) == (5, 1, 6)
    assert one["bytes"] == 10_000 + 10_001 + 300_000 + 50 + (9 << 20) + 700
    assert one["over_quota_mark"] == 1
    assert counts(one["logins"]) == {1: 3, 7: 1, None: 1}
    assert counts(one["ages"]) == {1: 3, 3: 1, 40: 1, None: 1}
    assert counts(one["sizes"]) == {10_000: 3, 100_000: 1, 1_000_000: 1, 10_000_000: 1}
    assert found["empty.example"]["accounts"] == 0


def test_the_table_has_bars(host):
    host.mailbox("today", 0, [(0.5, 10)] * 1)
    host.last_run(good=NOW - 7260)
    said = host.report().out
    assert "1 account, 1 message, 10 B" in said and "#" * 40 in said.replace("█", "#")
    assert "without a problem: 2 h 1 min ago" in said and "OVERDUE" not in said


@pytest.mark.parametrize("fields, overdue", [
    ({"good": NOW - 2 * DAY}, 0), ({"good": NOW - 2 * DAY - 1}, 1), ({"good": None}, 1)])
def test_a_good_run_too_long_ago_is_an_alert(host, fields, overdue, tmp_path):
    host.last_run(problems=3, held_back={DOMAIN: 4}, **fields)
    said = host.report().out
    assert ("OVERDUE" in said) == overdue and "3 problems" in said
    assert f"{DOMAIN}: 4 inactive accounts kept" in said
    assert json.loads(host.report("--json").out)["expire"]["overdue"] == bool(overdue)
    host.report("--textfile", str(tmp_path / "x.prom"))
    lines = (tmp_path / "x.prom").read_text().splitlines()
    assert f"chatmaild_expire_overdue {overdue}" in lines
    assert f"chatmaild_expire_last_success_timestamp_seconds {fields['good'] or 0}" in lines
    assert f'chatmaild_expire_held_back_accounts{{domain="{DOMAIN}"}} 4' in lines


def test_without_a_run_so_far_it_says_so(host):
    assert "has not run yet" in host.report().out


def test_the_textfile_is_for_prometheus(host, tmp_path):
    host.mailbox("today", 0, [(0.5, 10), (5, 20_000), (50, 10)])
    path = tmp_path / "x.prom"
    assert host.report("--textfile", str(path)).out == ""
    assert os.stat(path).st_mode & 0o777 == 0o644
    lines = path.read_text().splitlines()
    assert f'chatmaild_accounts{{domain="{DOMAIN}"}} 1' in lines
    assert f'chatmaild_accounts_active{{domain="{DOMAIN}",days="7"}} 1' in lines
    for metric in ('age{domain="%s",days="3"} 1', 'age{domain="%s",days="40"} 2',
                   'size{domain="%s",bytes="10000"} 2', 'size{domain="%s",bytes="10000000"} 3'):
        assert f"chatmaild_messages_by_{metric % DOMAIN}" in lines
    assert [line.split()[2] for line in lines if line.startswith("# TYPE")] == [
        line.split()[2] for line in lines if line.startswith("# HELP")]


def test_what_cannot_be_read_is_a_problem(host):
    (host.mail / ".expire.json").write_text("?")
    (host.mail / DOMAIN / f"link@{DOMAIN}").symlink_to("/")
    said = host.report(code=1)
    assert "JSON" in said.err and "symbolic link" in said.err
    assert "textfile" in host.report("--textfile", str(host.mail / "no" / "textfile"), code=1).err


def test_of_a_domain_that_cannot_be_read_no_numbers_are_told(host):
    domain = host.mail / DOMAIN
    domain.rename(host.mail / "elsewhere")
    domain.symlink_to("elsewhere")
    said = host.report(code=1)
    assert "symbolic link" in said.err and f"{DOMAIN}\n" not in said.out
    assert list(json.loads(host.report("--json", code=1).out)["domains"]) == ["empty.example"]


STANDING = {"sent": 1234, "failed": 5, "expired": 6, "gone": 7, "queued": 0,
            "oldest_seconds": 0.0, "gateway_is_up": 1, "timestamp": float(NOW - 10)}


@pytest.mark.parametrize("fields, says, hides", [
    ({}, "1,234 sent, 5 failed attempts, 6 dropped after 5 hours, 7 devices gone; none waits\n",
     "DOWN"),
    ({"queued": 8000, "oldest_seconds": 75.4, "gateway_is_up": 0},
     "; 8,000 wait, the oldest for 1 min 15 s; the gateway is DOWN\n", "none"),
    ({"timestamp": float(NOW - 7200)}, "2 h 0 min ago: systemctl status chatmaild-notifier",
     "DOWN"),
])
def test_push_is_part_of_it(host, fields, says, hides):
    host.push.write_text(push_metrics.render(Standing(**STANDING | fields)))
    said = host.report().out
    assert says in said and hides not in said
    assert json.loads(host.report("--json").out)["push"] == STANDING | fields


def test_a_notifier_that_never_ran_is_told_unless_push_is_off(host):
    assert "chatmaild-notifier has not run yet" in host.report().out
    assert json.loads(host.report("--json").out)["push"] is None
    with open(host.ini, "a") as file:
        file.write("push = no\n")
    assert "notifier" not in host.report().out


def test_push_metrics_of_somebody_else_are_a_problem(host):
    host.push.write_text("node_load1 0.5\n")
    assert "push.prom" in host.report(code=1).err
