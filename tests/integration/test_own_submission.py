"""`chatmaild wire --own-submission`: chat on an address of its own, ordinary mail elsewhere."""

import contextlib
import json
import os
import smtplib

import chatmessages
import pytest
from rig.files import kept
from rig.host import PASSWORD
from rig.stock import ORDINARY_USERS

RECORD = "/var/lib/chatmaild/wiring/record.json"
DOVECOT = ("/etc/dovecot/conf.d/05-chatmaild.conf", "/etc/dovecot/conf.d/99-chatmaild-lmtp.conf")


@contextlib.contextmanager
def configuration_kept(host):
    """Postfix is configured as before and has started anew when the block ends."""
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(host.start_postfix)
        at_the_end.enter_context(kept(
            "/etc/postfix/main.cf", "/etc/postfix/master.cf", RECORD, *DOVECOT,
            "/etc/sysctl.d/60-chatmaild.conf"))
        at_the_end.callback(host.stop_postfix)
        yield


@pytest.fixture(scope="module")
def own(running_host):
    """The host wired by the recipe: chat at its public address, ordinary users at 127.0.0.1."""
    host = running_host
    with configuration_kept(host):
        host.stop_postfix()
        host.run("postconf", "-e", "inet_interfaces = 127.0.0.1")
        host.start_postfix()
        host.chatmaild("wire", "--own-submission", host.public, "--apply")
        host.reload_postfix()
        yield host


def send(host, message, sender, login, password, port, source):
    with host.smtp(login, password, port, source) as smtp:
        smtp.sendmail(sender, [sender], message)


@pytest.mark.parametrize("port", [465, 587])
def test_chat_is_filtered_there(own, person, port):
    send(own, chatmessages.encrypted(person, person, "x"), person, person, PASSWORD, port,
         own.stranger)
    with pytest.raises(smtplib.SMTPDataError) as caught:
        send(own, chatmessages.cleartext(person, person, "x"), person, person, PASSWORD, port,
             own.stranger)
    assert caught.value.smtp_code == 523


@pytest.mark.parametrize("port", [465, 587])
def test_the_ordinary_service_is_no_way_around(own, person, port):
    for message in (chatmessages.cleartext(person, person, "x"),
                    chatmessages.encrypted(person, person, "x")):
        with pytest.raises(smtplib.SMTPDataError) as caught:
            send(own, message, person, person, PASSWORD, port, "127.0.0.1")
        assert caught.value.smtp_code == 554
    with pytest.raises(smtplib.SMTPDataError):
        send(own, message, person, "alice", ORDINARY_USERS["alice"], port, "127.0.0.1")


@pytest.mark.parametrize("port", [465, 587])
def test_while_the_filter_is_down_only_chat_waits(own, person, port):
    alice = "alice@example.org"
    with own.without("filtermail"):
        send(own, chatmessages.cleartext(alice, alice, "x"), alice, "alice",
             ORDINARY_USERS["alice"], port, "127.0.0.1")
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            send(own, chatmessages.encrypted(person, person, "x"), person, person, PASSWORD, port,
                 own.stranger)
        assert caught.value.smtp_code in (451, 454)


def test_wiring_again_keeps_it_so(own):
    assert "nothing to change" in own.chatmaild("wire").stdout
    refusing = own.chatmaild("check", check=False).stdout
    assert refusing.count("takes nothing from chat users") == 2
    assert "master.cf: submission" not in "".join(
        line for line in refusing.splitlines() if line.startswith("FAILURE"))


def test_check_tries_each_service_for_what_it_is_for(own):
    findings = json.loads(own.chatmaild("check", "--live", "--json", check=False).stdout)[
        "findings"]
    at = {code: [f["place"].partition(" at ")[2] for f in findings
                 if f["code"] == code and f["level"] == "ok"]
          for code in ("live-refusal", "live-cleartext")}
    assert at == {"live-refusal": ["localhost:587", "localhost:465"],
                  "live-cleartext": [f"{own.public}:587", f"{own.public}:465"]}
    assert "live-submission" not in {finding["code"] for finding in findings}


def test_check_sees_an_ordinary_service_that_takes_chat_mail(own):
    """The files are right, but what runs is not what they say: no reload since they changed."""
    def refusals():
        done = own.chatmaild("check", "--live", "--json", check=False)
        return {f["level"] for f in json.loads(done.stdout)["findings"]
                if f["code"] == "live-refusal"}
    try:
        with kept("/etc/postfix/master.cf"):
            for name in ("submission", "submissions"):
                own.run("postconf", "-P", f"{name}/inet/smtpd_data_restrictions=")
            own.reload_postfix()
        assert refusals() == {"failure"}
    finally:
        own.reload_postfix()
    assert refusals() == {"ok"}


def test_the_address_must_be_free(own):
    with kept("/etc/postfix/main.cf"):
        own.run("postconf", "-e", "inet_interfaces = all")
        done = own.chatmaild("wire", "--own-submission", "192.0.2.77", check=False)
    assert done.returncode == 1 and "inet_interfaces" in done.stdout


def test_removal_takes_the_recipe_out_as_well(own):
    with configuration_kept(own):
        own.chatmaild("unwire", "--apply", check=False)    # inet_interfaces was changed meanwhile
        services = own.run("postconf", "-M").stdout + own.run("postconf", "-P").stdout
        assert "chat" not in services and own.public not in services
        assert not any(map(os.path.exists, DOVECOT))
        assert "chat_" not in own.run("postconf", "-n").stdout
