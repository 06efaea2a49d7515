"""A mistake in chatmaild.ini, found at a restart or a reload, puts nobody's mail off."""

import json
import secrets

import pytest
from rig.stock import ORDINARY_USERS
from rig.until import until

LAST_GOOD = "/var/lib/chatmaild/last-good.ini"


@pytest.fixture(params=["[chatmaild]\nmail_domain = chat.example.org\n", None],
                ids=["mistake", "missing"])
def broken(host, request):
    """Everything was restarted since the file broke."""
    before = host.ini.read_text()
    try:
        if request.param is None:
            host.ini.unlink()
        else:
            host.ini.write_text(request.param)
        for service in host.services.values():
            service.stop()
        for service in host.services.values():
            service.start()
        yield
    finally:
        host.ini.write_text(before)
        host.ini.chmod(0o644)
        for service in host.services.values():
            assert service.reload()


def test_ordinary_users_submit_and_get_mail(host, broken):
    words = secrets.token_hex()
    with host.smtp("alice", ORDINARY_USERS["alice"]) as smtp:
        smtp.sendmail("alice@example.org", ["bob@example.org"], f"Subject: x\r\n\r\n{words}\r\n")
    with host.imap("bob", ORDINARY_USERS["bob"]) as imap:
        host.wait_for_mail(imap, words=words)


def test_cleartext_is_refused_as_before(host, person, broken):
    assert host.answer(b"From: alice@sender.example\r\nSubject: x\r\n\r\nhi\r\n", person)[0] >= 500


def test_it_is_said_everywhere_until_it_is_mended(host, broken):
    for name in host.services:
        assert LAST_GOOD in host.services[name].log_text()
    done = host.chatmaild("check", "--json", check=False)
    assert done.returncode == 2
    assert any(LAST_GOOD in finding["text"] for finding in json.loads(done.stdout)["findings"])
    done = host.chatmaild("report", check=False)
    assert done.returncode == 1 and LAST_GOOD in done.stderr
    assert host.chatmaild("expire", check=False).returncode == 2


def test_a_reload_with_a_mistake_fails_and_says_why(host):
    service = host.services["doveauth"]
    before = host.ini.read_text()
    reloads = service.log_text().count("read again")
    try:
        host.ini.write_text("[chatmaild]\nmail_domain = chat.example.org\n")
        assert not service.reload()
        assert "did you mean mail_domains" in service.log_text()
        assert service.log_text().count("read again") == reloads
    finally:
        host.ini.write_text(before)
    assert service.reload()
    until(lambda: service.log_text().count("read again") > reloads, "the reload")
