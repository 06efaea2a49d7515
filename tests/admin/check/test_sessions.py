"""Findings about what a host does in a chat user's session."""

import pytest
from captured import CONFIG, DOMAIN, RELEASES, bad, dovecot

from chatmaild.admin.check import sessions
from chatmaild.admin.servers import doveconf

pytestmark = pytest.mark.parametrize("release", RELEASES)

POST_LOGIN = """
service imap {
  executable = imap imap-postlogin
}
service imap-postlogin {
  executable = script-login /etc/dovecot/post-login.sh
  unix_listener imap-postlogin {
  }
}
"""


def judge(release, lines="", script=""):
    host = dovecot(release, "wired")
    added = doveconf.parse(lines)
    host.tree.values.update(added.values)
    for block in added.blocks:
        host.tree.blocks = [b for b in host.tree.blocks if (b.kind, b.name) != (
            block.kind, block.name)] + [block]
    return list(sessions.check(host, CONFIG, lambda path: script))


def test_nothing_is_found_on_an_ordinary_host(release):
    assert judge(release) == []


def test_a_script_after_each_login_runs_for_chat_users_too(release):
    found = judge(release, POST_LOGIN, '#!/bin/sh\nexport MAIL=maildir:/elsewhere\nexec "$@"\n')
    assert bad(found) == {"post-login": "failure"}
    assert f'case "$USER" in *@{DOMAIN}) exec "$@" ;; esac' in found[0].cure


def test_a_script_that_lets_chat_users_pass_is_in_order(release):
    script = f'#!/bin/sh\ncase "$USER" in *@{DOMAIN}) exec "$@" ;; esac\n'
    assert bad(judge(release, POST_LOGIN, script)) == {}


def test_a_script_that_nothing_calls_is_none(release):
    assert judge(release, POST_LOGIN.replace("imap imap-postlogin", "imap")) == []


def test_folders_that_anybody_can_make(release):
    lines = "lmtp_save_to_detail_mailbox = yes\nlda_mailbox_autocreate = yes\n"
    assert bad(judge(release, lines)) == (
        {"detail-folders": "warning"} if release == "trixie" else {})


def test_deliveries_that_are_written_down(release):
    assert bad(judge(release, "lmtp_rawlog_dir = /var/log/lmtp\n")) == {"rawlog": "warning"}
