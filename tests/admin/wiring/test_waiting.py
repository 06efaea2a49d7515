"""What waits for chat users when the wiring goes."""

import argparse
import json
import os
from pathlib import Path

import pytest

from chatmaild.admin.wiring import applying, record, unwire, waiting
from chatmaild.admin.wiring.steps import Kind, Step, WiringError
from chatmaild.console import Console

CHAT = "chat.example.org"
TOOLS = {
    "postconf": "echo /etc/postfix",
    "postmulti": "printf -- '-  -  y  /etc/postfix\\nout  -  y  /etc/postfix-out\\n'",
    "postqueue": 'cat "$QUEUES/$(basename "$2")" 2>/dev/null || true',
    "postsuper": 'echo "$* $(paste -sd " ")" >>"$QUEUES/told"',
    "postfix": "true",
    "doveconf": """cd "$QUEUES"
cp later postfix-out 2>/dev/null
test -e good || { echo "a mistake" >&2; exit 1; }""",
}
"""Tools of Postfix and Dovecot: the queue of each instance is a file."""


def message(name, queue, *recipients):
    return json.dumps({"queue_name": queue, "queue_id": name, "sender": f"anna@{CHAT}",
                       "recipients": [{"address": address} for address in recipients]},
                      ensure_ascii=False) + "\n"


@pytest.fixture
def queues(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in TOOLS.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUES", str(tmp_path))
    monkeypatch.setattr(record, "DIRECTORY", str(tmp_path / "wiring"))
    monkeypatch.setattr(applying, "reload", lambda paths: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "wiring").mkdir()
    (tmp_path / "postfix").write_text(
        message("A1", "deferred", f"bert@{CHAT}") + message("A2", "active", "bob@example.org")
        + message("A3", "incoming", "bob@example.org", f"BERT@{CHAT.upper()}")
        + message("A4", "hold", f"bert@{CHAT}") + message("A5", "deferred", f"bert@x.{CHAT}")
        + message("A6", "deferred", "one\u2028two\x85@example.org")
        + message("A1", "active", f"bert@{CHAT}"))
    (tmp_path / "postfix-out").write_text(message("B1", "deferred", f"bert@{CHAT}"))
    return tmp_path


def told(queues):
    path = queues / "told"
    return path.read_text().splitlines() if path.exists() else []


HELD = ["-c /etc/postfix -h - A1 A3", "-c /etc/postfix-out -h - B1"]


def test_only_what_waits_for_chat_users_is_put_on_hold(queues):
    """In each instance; a message once, wherever it moves; what is on hold is somebody else's."""
    found = waiting.hold([CHAT])
    assert [(each.directory, each.ids, each.with_others) for each in found] == [
        ("/etc/postfix", ("A1", "A3"), 1), ("/etc/postfix-out", ("B1",), 0)]
    assert told(queues) == HELD
    assert Path(found[0].path).read_text() == "A1\nA3\n"


def test_what_an_earlier_run_has_put_on_hold_stays_in_the_list(queues):
    waiting.hold([CHAT])
    (queues / "postfix").write_text(
        message("A1", "hold", f"bert@{CHAT}") + message("A7", "deferred", f"bert@{CHAT}"))
    assert waiting.hold([CHAT])[0].ids == ("A1", "A7")


def test_a_look_changes_nothing(queues):
    [first, _] = waiting.look([CHAT])
    [line] = first.describe(are_held=False)
    assert line.endswith("2 messages to chat users (1 with other recipients, who wait as well)")
    assert not told(queues) and not Path(first.path).exists()


def test_a_tool_that_fails_is_named(queues):
    (queues / "bin/postsuper").write_text("#!/bin/sh\necho 'fatal: no room' >&2; exit 1\n")
    with pytest.raises(WiringError, match="postsuper -h: fatal: no room"):
        waiting.hold([CHAT])


def take_away(queues):
    """`chatmaild unwire --apply`, on a host with one file of ours."""
    ours, ini = queues / "60.conf", queues / "chatmaild.ini"
    ours.write_text("x = 1\n")
    ini.write_text(f"[chatmaild]\nmail_domains = {CHAT}\n")
    step = Step(Kind.FILE, str(ours), "", None, "x = 1\n", "a test")
    record.save(record.Record({str(ours): None}, {str(ours): b"x = 1\n"}, (step,)))
    args = argparse.Namespace(apply=True, config=ini, last_good=queues / "none")
    return unwire.run(args, Console(as_json=True))


def test_unwire_holds_what_waits_and_what_comes_meanwhile(queues, capsys):
    """Before a file changes, straight before the servers read them, and after that."""
    (queues / "good").touch()
    (queues / "later").write_text(message("B2", "deferred", f"bert@{CHAT}"))
    assert take_away(queues) == 0
    assert told(queues) == [*HELD, *[line.replace("B1", "B2") for line in HELD * 2]]
    assert not (queues / "60.conf").exists()
    assert [each["messages"] for each in json.loads(capsys.readouterr().out)["waiting"]] == [2, 1]


def test_what_is_not_unwired_after_all_is_let_go(queues):
    with pytest.raises(WiringError, match="a mistake; everything was taken back"):
        take_away(queues)
    assert told(queues) == [*HELD, *(line.replace("-h", "-H") for line in HELD)]
    assert (queues / "60.conf").exists()
    assert not list((queues / "wiring").glob("held*"))
