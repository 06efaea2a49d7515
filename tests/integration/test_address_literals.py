"""Relays without a domain, ``user@[192.0.2.99]``: they write to us and can be written to."""

import smtplib
import subprocess

import chatmessages
import pytest
from rig.files import kept
from rig.host import PASSWORD
from rig.stock import postconf

PUBLIC_6, STRANGER_6 = "2001:db8::1", "2001:db8::99"


@pytest.fixture(scope="module", autouse=True)
def world(running_host):
    """Addresses of IPv6 as well, and a way for what goes to literals: it is thrown away."""
    for address in (PUBLIC_6, STRANGER_6):
        subprocess.run(["ip", "address", "add", f"{address}/128", "dev", "lo", "nodad"], check=True)
    before = running_host.run("postconf", "-h", "transport_maps").stdout.strip()
    away = "regexp:{ { /@\\[(192\\.0\\.2\\.99|IPv6:2001:db8::99)\\]$$/ discard: } }"
    with kept("/etc/postfix/main.cf"):
        postconf("-e", {"transport_maps": f"{away} {before}"})
        running_host.reload_postfix()
        yield
    running_host.reload_postfix()


def deliver(host, message, sender, recipient, version):
    """What port 25 says to who connects by that version of IP."""
    if version == 4:
        return host.answer(message, recipient, sender)[0]
    with smtplib.SMTP(PUBLIC_6, 25, "client.example.net", 60, (STRANGER_6, 0)) as smtp:
        try:
            smtp.sendmail(sender, [recipient], message)
        except smtplib.SMTPDataError as error:
            return error.smtp_code
    return 250


@pytest.mark.parametrize("version, own, other", [
    (4, "[192.0.2.99]", "[192.0.2.98]"),
    (6, f"[IPv6:{STRANGER_6}]", "[IPv6:2001:db8::98]"),
])
def test_mail_from_a_literal(host, person, version, own, other):
    for literal, code in ((own, 250), (other, 554)):
        relay = f"alice@{literal}"
        message = chatmessages.encrypted(relay, person, "no domain, no DNS")
        assert deliver(host, message, relay, person, version) == code
        # the envelope sender is whoever's
        assert deliver(host, message, "alice@sender.example", person, version) == code
    clear = chatmessages.cleartext(f"alice@{own}", person, "no domain, no DNS")
    assert deliver(host, clear, f"alice@{own}", person, version) == 523
    with host.imap(person, PASSWORD) as imap:
        got = host.wait_for_mail(imap, 2)
    assert all(f"From: <alice@{own}>".encode() in one for one in got)


@pytest.mark.parametrize("literal", ["[192.0.2.99]", f"[IPv6:{STRANGER_6}]"])
def test_mail_to_a_literal(host, person, literal):
    relay = f"alice@{literal}"
    others = f"Cc: {relay}, <bob@{literal}>\r\nReply-To: <{person}>\r\n".encode()
    message = others + chatmessages.encrypted(person, relay, "hello")
    with host.smtp(person, PASSWORD) as smtp:
        assert smtp.sendmail(person, [relay, f"bob@{literal}", person], message) == {}
    host.wait_for_log(f"to=<{relay}>, relay=none")
    with host.imap(person, PASSWORD) as imap:
        got, = host.wait_for_mail(imap)
    assert f"Cc: {relay}, <bob@{literal}>".encode() in got
