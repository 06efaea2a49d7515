"""Steps done and undone again on real text, by the real postconf."""

import os
import shutil

import pytest

from chatmaild.admin.wiring import editing
from chatmaild.admin.wiring.steps import Kind, Step

pytestmark = pytest.mark.skipif(
    not shutil.which("postconf") and os.environ.get("CI") != "true", reason="needs postconf")

MAIN, MASTER, DOVECOT = "/x/main.cf", "/x/master.cf", "/x/dovecot.conf"
BEFORE = {
    MAIN: b"# kept\nvirtual_mailbox_domains =\n  example.net\nbiff = no",
    MASTER: b"smtp inet n - y - - smtpd\n  -o { smtpd_milters = inet:a:1 }\n",
    DOVECOT: b"# one file\npassdb {\n}",
}
STEPS = [
    Step(Kind.PARAMETER, MAIN, "chat_filter", None, "{ unix:x, a=b }", ""),
    Step(Kind.PARAMETER, MAIN, "chat_milters", None, "$chat_filter inet:a:1", ""),
    Step(Kind.PARAMETER, MAIN, "virtual_mailbox_domains", "example.net", "example.net, chat", ""),
    Step(Kind.OPTION, MASTER, "smtp/inet/smtpd_milters", "inet:a:1", "$chat_milters", ""),
    Step(Kind.LINE, DOVECOT, "first", None, "!include a", ""),
]


def test_done():
    done = editing.carry_out(dict(BEFORE), STEPS)
    assert b"biff = no\nchat_filter = { unix:x, a=b }\n" in done[MAIN]
    assert b"$chat_milters" in done[MASTER] and b"inet:a:1" not in done[MASTER]
    assert done[DOVECOT] == b"# one file\n!include a\npassdb {\n}"


def test_undone_beside_changes_of_others():
    done = editing.carry_out(dict(BEFORE), STEPS)
    done[MAIN] = done[MAIN].replace(b"example.net, chat", b"example.net, chat, new.example")
    done[MAIN] += b"mine = 1\n"
    undone, left = editing.take_back(done, STEPS)
    assert left == []
    assert b"chat" not in undone[MAIN] + undone[MASTER]
    assert b"virtual_mailbox_domains = example.net, new.example\n" in undone[MAIN]
    assert b"mine = 1\n" in undone[MAIN] and b"inet:a:1" in undone[MASTER]
    assert undone[DOVECOT] == BEFORE[DOVECOT]


def test_what_is_not_ours_any_more_stays_with_all_that_it_needs():
    done = editing.carry_out(dict(BEFORE), STEPS)
    done[MASTER] = done[MASTER].replace(b"$chat_milters", b"inet:b:2,$chat_milters")
    undone, left = editing.take_back(done, STEPS)
    assert b"inet:b:2,$chat_milters" in undone[MASTER]
    assert b"\nchat_milters = $chat_filter inet:a:1\n" in undone[MAIN]
    assert b"\nchat_filter = " in undone[MAIN]
    assert len(left) == 3 and "smtp/inet/smtpd_milters" in left[0]


@pytest.mark.parametrize("before, where", [
    (b"listen = *\nprotocol imap {\n  !include_try quota\n}\npassdb {\n}\n", b"protocol imap"),
    (b"remote 192.0.2.0/24 {\n  protocol imap {\n    passdb {\n    }\n  }\n}\n", b"remote"),
    (b"service x {\n  # passdb {\n}\nlisten = *\n!include conf.d/*.conf\n", b"!include conf.d"),
])
def test_a_first_line_is_in_no_block(before, where):
    step = Step(Kind.LINE, DOVECOT, "first", None, "!include a", "")
    done = editing.carry_out({DOVECOT: before}, [step])[DOVECOT]
    assert done == before.replace(where, b"!include a\n" + where)
