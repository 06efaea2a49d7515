"""The private host by itself: an ordinary mail host that serves ordinary mail."""

import concurrent.futures
import imaplib
import socket

import pytest
from rig.files import kept
from rig.stock import ORDINARY_USERS, postconf

MESSAGE = """\
From: alice@example.org
To: {to}
Subject: Lunch

At noon, under the clock {port}?
"""


@pytest.mark.parametrize("port", [465, 587])
def test_ordinary_users_write_each_other(host, port):
    to = "bob@example.org"
    with host.smtp("alice", ORDINARY_USERS["alice"], port) as smtp:
        smtp.sendmail("alice@example.org", [to], MESSAGE.format(to=to, port=port))
    with host.imap("bob", ORDINARY_USERS["bob"]) as imap:
        assert host.wait_for_mail(imap, words=f"clock {port}")


def test_a_wrong_password_is_refused(host):
    with pytest.raises(imaplib.IMAP4.error):
        host.imap("alice", "wrong", source="127.0.0.2")  # Dovecot slows that address down


def test_the_network_is_private():
    with pytest.raises(OSError):
        socket.create_connection(("198.51.100.1", 25), timeout=5)


def test_what_was_being_delivered_at_a_reload_is_tried_again_at_once(host):
    """Postfix by itself would let it wait for five minutes, if no other mail comes."""
    with (kept("/etc/postfix/main.cf"), socket.create_server(("127.0.0.77", 2525)) as elsewhere,
          concurrent.futures.ThreadPoolExecutor(1) as admin):
        elsewhere.settimeout(60)
        postconf("-e", {"transport_maps": "inline:{ later.example=smtp:[127.0.0.77]:2525 }"})
        host.reload_postfix()
        host.run("sendmail", "-f", "alice@example.org", "bob@later.example", text="Subject: x\n\n")
        with elsewhere.accept()[0]:
            reloaded = admin.submit(host.reload_postfix)
            host.wait_for_log("skipped, still being delivered")
        elsewhere.accept()[0].close()
        reloaded.result()
        host.run("postsuper", "-d", "ALL")
    host.reload_postfix()
