"""The main job, through a real Postfix and Dovecot: what chat users and everybody else see."""

import contextlib
import imaplib
import itertools
import os
import smtplib
import time

import chatmessages
import pytest
from rig.speed import in_time
from rig.stock import ORDINARY_USERS

PASSWORD = "correct horse battery"
ORDINARY = "alice@example.org"
NUMBERS = itertools.count(1)
ELSEWHERE = (f"127.0.1.{n}" for n in itertools.count(1))    # Dovecot slows down where logins failed


@pytest.fixture
def person(host):
    """Makes new chat addresses, all with PASSWORD."""
    return lambda: f"main{next(NUMBERS):05d}@{host.chat_domain}"


@pytest.fixture
def sender(host, person):
    address = person()
    host.imap(address, PASSWORD).logout()
    return address


@pytest.fixture
def recipient(host, person):
    address = person()
    host.imap(address, PASSWORD).logout()
    return address


def send(host, sender, to, message, login=None, port=465, source="127.0.0.1"):
    with host.smtp(login or sender, PASSWORD, port, source) as smtp:
        smtp.sendmail(sender, [to], message)


def refusal(host, *args, **kwargs):
    """The reply to the message that must not pass, or to its only recipient."""
    with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)) as caught:
        send(host, *args, **kwargs)
    if isinstance(caught.value, smtplib.SMTPRecipientsRefused):
        (code, text), = caught.value.recipients.values()
    else:
        code, text = caught.value.smtp_code, caught.value.smtp_error
    return code, text.decode()


@pytest.mark.parametrize("port", [465, 587])
def test_a_first_login_over_smtp_makes_the_account(host, person, port):
    address = person()
    host.smtp(address, PASSWORD, port).quit()
    assert (host.mailbox(address) / "password").exists()
    with pytest.raises(smtplib.SMTPAuthenticationError):
        host.smtp(address, "another password", port, next(ELSEWHERE))


@pytest.mark.parametrize("port", [465, 587])
def test_an_encrypted_message_arrives_unchanged(host, sender, recipient, port):
    send(host, sender, recipient, chatmessages.encrypted(sender, recipient, "Grüße"), port=port)
    with host.imap(recipient, PASSWORD) as imap:
        message, = host.wait_for_mail(imap)
    assert chatmessages.decrypted(message, recipient) == "Grüße"


def test_nothing_of_the_sender_but_his_address_arrives(host, sender, recipient):
    message = chatmessages.encrypted(sender, recipient, "x").replace(
        b"Subject: [...]\r\n", b"Subject: Where I am\r\nUser-Agent: Phone 3000\r\n"
        b"X-Originating-IP: 192.0.2.99\r\n")
    send(host, sender, recipient, message, source=host.stranger)
    with host.imap(recipient, PASSWORD) as imap:
        arrived, = host.wait_for_mail(imap)
    for words in (b"Where I am", b"Phone 3000", host.stranger.encode(), b"client.example.net"):
        assert words not in arrived


def test_a_cleartext_message_is_refused_with_the_words_that_clients_look_for(
        host, sender, recipient):
    code, text = refusal(host, sender, recipient,
                         chatmessages.cleartext(sender, recipient, "Meet me at noon"))
    assert code == 523
    assert "Invalid Unencrypted Mail" in text


def test_a_forged_from_is_refused(host, sender, recipient):
    forged = chatmessages.encrypted(recipient, recipient, "It was me")
    assert refusal(host, sender, recipient, forged)[0] == 554


def test_a_forged_envelope_sender_is_refused(host, sender, recipient):
    forged = chatmessages.encrypted(recipient, recipient, "It was me")
    code, _ = refusal(host, recipient, recipient, forged, login=sender)
    assert code in (553, 554)


def test_old_mail_is_gone_after_expire(host, recipient, sender):
    send(host, sender, recipient, chatmessages.encrypted(sender, recipient, "x"))
    with host.imap(recipient, PASSWORD) as imap:
        host.wait_for_mail(imap)
        later = int(time.time()) + 21 * 86400
        host.chatmaild("expire", "--dry-run", "--now", str(later), user="_chatmaild")
        imap.select()
        assert imap.search(None, "ALL")[1] != [b""]
        host.chatmaild("expire", "--now", str(later), user="_chatmaild")
        imap.select()
        assert imap.search(None, "ALL")[1] == [b""]


def ordinary_mail(host):
    """alice writes to bob in clear, over both services, and bob reads it."""
    mark = os.urandom(8).hex()
    for port in (465, 587):
        with host.smtp("alice", ORDINARY_USERS["alice"], port) as smtp:
            smtp.sendmail(ORDINARY, ["bob@example.org"],
                          chatmessages.cleartext(ORDINARY, "bob@example.org", mark))
    with host.imap("bob", ORDINARY_USERS["bob"]) as imap:
        return host.wait_for_mail(imap, 2, words=mark)[0]


def test_ordinary_users_send_what_they_like(host):
    message = ordinary_mail(host)
    assert b"Subject: [...]" in message


def test_ordinary_users_notice_nothing_while_accounts_are_down(host):
    with host.without("doveauth", "lastlogin"):
        started = time.monotonic()
        ordinary_mail(host)
        assert in_time(time.monotonic() - started, 10)


def test_without_doveauth_existing_accounts_log_in_and_get_mail(host, sender, recipient, person):
    new = person()
    with host.without("doveauth"):
        send(host, sender, recipient, chatmessages.encrypted(sender, recipient, "still here"))
        with host.imap(recipient, PASSWORD) as imap:
            message, = host.wait_for_mail(imap)
        assert chatmessages.decrypted(message, recipient) == "still here"
        with pytest.raises(imaplib.IMAP4.error):
            host.imap(new, PASSWORD, next(ELSEWHERE))
        assert not host.mailbox(new).exists()
    host.imap(new, PASSWORD).logout()


@pytest.mark.parametrize("port", [465, 587])
def test_without_filtermail_nothing_passes(host, sender, recipient, port):
    with host.without("filtermail"):
        with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPSenderRefused)) as caught:
            send(host, sender, recipient, chatmessages.cleartext(sender, recipient, "x"),
                 port=port)
    assert caught.value.smtp_code in (451, 454)
    send(host, sender, recipient, chatmessages.encrypted(sender, recipient, "y"), port=port)
    with host.imap(recipient, PASSWORD) as imap:
        assert len(host.wait_for_mail(imap)) == 1


def test_a_killed_filtermail_loses_and_leaks_nothing(host, sender, recipient):
    host.services["filtermail"].kill()
    host.services["filtermail"].start()
    send(host, sender, recipient, chatmessages.encrypted(sender, recipient, "x"))
    with host.imap(recipient, PASSWORD) as imap:
        assert len(host.wait_for_mail(imap)) == 1


def test_no_log_has_a_password_or_a_subject(host, sender, recipient, person):
    refusal(host, sender, recipient, chatmessages.cleartext(sender, recipient, "in the clear"))
    message = chatmessages.encrypted(sender, recipient, "x").replace(
        b"Subject: [...]\r\n", b"Subject: Where I am\r\n")
    assert b"Where I am" in message
    send(host, sender, recipient, message)
    with host.imap(recipient, PASSWORD) as imap:
        assert len(host.wait_for_mail(imap)) == 1
    for down in (["doveauth"], ["doveauth", "lastlogin"], ["filtermail"]):
        with host.without(*down):
            with contextlib.suppress(imaplib.IMAP4.error):
                host.imap(sender, "another password", next(ELSEWHERE))
            with contextlib.suppress(smtplib.SMTPException):
                host.smtp(person(), PASSWORD, source=next(ELSEWHERE)).quit()
    logs = host.logs()
    assert logs["mail.log"] and logs["dovecot.log"] and logs["filtermail"]
    for name, text in logs.items():
        for secret in (PASSWORD, "another password", *ORDINARY_USERS.values(), "Where I am",
                       "in the clear"):
            assert secret not in text, name
    for name in host.services:
        assert "@" + host.chat_domain not in logs[name], f"{name} logs addresses"
