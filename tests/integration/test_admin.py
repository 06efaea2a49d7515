"""`chatmaild accounts` and `chatmaild invite` against servers that run."""

import imaplib
import io
import json
import mailbox
import pwd
import smtplib
import tarfile
import threading
from pathlib import Path

import pytest
from rig.until import until

from chatmaild.admin.check import livemail

ALICE, BOB = "alice2345@chat.example.org", "bobby2345@chat.example.org"
PASSWORD = "a good password"


@pytest.fixture
def accounts(host):
    """`chatmaild accounts ...` as root; afterwards the addresses are gone and free again."""
    def run(*arguments, check=True):
        return host.chatmaild("accounts", *arguments, check=check)
    yield run
    for address in (ALICE, BOB):
        run("delete", "--yes", address, check=False)
        run("unblock", address, check=False)


def deliver(host, address, token="token"):
    """A message of `address` to itself, through submission, filter and LMTP."""
    with host.smtp(address, PASSWORD) as smtp:
        smtp.sendmail(address, [address], livemail.encrypted(address, token))


def logs_in(host, address, password=PASSWORD):
    try:
        host.imap(address, password).logout()
    except imaplib.IMAP4.error:
        return False
    return True


def test_made_by_the_admin_used_by_the_client(host, accounts):
    made = json.loads(accounts("create", ALICE, "--json").stdout)
    assert logs_in(host, ALICE, made["password"])
    assert not logs_in(host, ALICE, PASSWORD)
    owner = pwd.getpwnam("_chatmaild").pw_uid
    home = host.mailbox(ALICE)
    for path in (home, home / "password", home.parent):
        assert path.stat().st_uid == owner
    assert (home / "password").stat().st_mode & 0o777 == 0o600
    assert f"{ALICE}\t" in accounts("list", "chat.example.org").stdout


def test_password_from_a_file_that_only_root_can_read(host, accounts):
    secret = Path("/root/password-for-test")
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    try:
        accounts("create", ALICE, "--password-file", secret)
    finally:
        secret.unlink()
    assert logs_in(host, ALICE)


def test_block_keeps_mail_and_shuts_every_door(host, accounts):
    assert logs_in(host, ALICE)
    deliver(host, ALICE)
    with host.imap(ALICE, PASSWORD) as imap:
        host.wait_for_mail(imap)
    accounts("block", ALICE)
    assert not logs_in(host, ALICE)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        host.smtp(ALICE, PASSWORD)
    with host.smtp(BOB, PASSWORD) as smtp, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        smtp.sendmail(BOB, [ALICE], livemail.encrypted(BOB, "t"))
    assert refused.value.recipients[ALICE][0] == 550
    with smtplib.LMTP("/var/spool/postfix/private/dovecot-lmtp") as lmtp:
        lmtp.ehlo()
        lmtp.mail(BOB)
        assert lmtp.rcpt(ALICE)[0] == 550
    accounts("unblock", ALICE)
    with host.imap(ALICE, PASSWORD) as imap:
        assert len(host.wait_for_mail(imap)) == 1


def test_delete_while_a_client_is_connected(host, accounts):
    assert logs_in(host, ALICE)
    deliver(host, ALICE)
    connected = host.imap(ALICE, PASSWORD)
    host.wait_for_mail(connected)
    accounts("delete", "--yes", ALICE)
    assert not host.mailbox(ALICE).exists()
    connected.shutdown()
    assert accounts("show", ALICE, check=False).returncode == 1
    # born anew, empty, with another password
    assert logs_in(host, ALICE, "another password")
    assert not logs_in(host, ALICE, PASSWORD)
    assert json.loads(accounts("show", ALICE, "--json").stdout)["messages"] == 0


def test_deleted_and_blocked_is_not_made_anew(host, accounts):
    assert logs_in(host, ALICE)
    accounts("delete", "--yes", "--block", ALICE)
    for password in (PASSWORD, "another password"):
        assert not logs_in(host, ALICE, password)
    assert [path.name for path in host.mailbox(ALICE).iterdir()] == ["blocked"]


def test_deletion_in_the_middle_of_logins_leaves_all_or_nothing(host, accounts):
    """One client logs in again and again, and so makes the address anew each time.

    While the sessions before a deletion are being ended it is told to try again, and nothing worse.
    """
    stop = threading.Event()
    succeeded, failed = [], []

    def client():
        while not stop.is_set():
            try:
                host.imap(ALICE, PASSWORD).logout()
                succeeded.append(True)
            except (imaplib.IMAP4.abort, OSError):
                pass    # cut off because the mailbox went away: the next login succeeds
            except imaplib.IMAP4.error as error:
                if "[UNAVAILABLE]" not in str(error):
                    failed.append(error)

    thread = threading.Thread(target=client)
    thread.start()
    try:
        for _ in range(6):
            before = len(succeeded)
            until(lambda: len(succeeded) > before, "a login")
            accounts("delete", "--yes", ALICE, check=False)
    finally:
        stop.set()
        thread.join()
    assert not failed
    assert logs_in(host, ALICE)
    names = {path.name for path in host.mailbox(ALICE).iterdir()}
    assert {"password", "enforceE2EEincoming"} <= names
    left = [path.name for path in host.mailbox(ALICE).parent.iterdir()
            if path.name.startswith((".new-", ".removed-"))]
    assert left == []


def test_export_can_be_read_by_others(host, accounts, tmp_path):
    assert logs_in(host, ALICE)
    deliver(host, ALICE, "a1b2c3")
    with host.imap(ALICE, PASSWORD) as imap:
        host.wait_for_mail(imap)
        imap.create("DeltaChat")
        imap.append("DeltaChat", "", None, livemail.encrypted(ALICE, "d4e5f6"))
    target = tmp_path / "alice.tar"
    assert accounts("export", ALICE, str(target)).stdout.startswith("2 messages")
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
        archive.extractall(tmp_path)
    inbox = mailbox.Maildir(tmp_path / ALICE, create=False)
    (message,) = inbox
    assert "a1b2c3" in message["Message-ID"] and "PGP MESSAGE" in message.as_string()
    (message,) = inbox.get_folder("DeltaChat")
    assert "d4e5f6" in message["Message-ID"]


def test_invitation_makes_one_account(host, accounts):
    text = host.ini.read_text()
    host.configure(text.replace("#signup = open", "signup = invite"))
    try:
        made = json.loads(host.chatmaild("invite", "create", "--uses", "2", "--json").stdout)
        first, second = made["invitations"]
        assert not logs_in(host, ALICE)
        assert logs_in(host, first["address"], first["password"])
        assert logs_in(host, first["address"], first["password"])   # a login from then on
        assert not logs_in(host, ALICE, first["password"])          # the token is spent
        assert host.chatmaild("invite", "list").stdout.split("\t")[2] == "1"
        host.chatmaild("invite", "revoke", made["batch"])
        assert not logs_in(host, second["address"], second["password"])
        accounts("delete", "--yes", first["address"])
    finally:
        host.configure(text)


def test_no_password_in_any_log(host, accounts):
    made = json.loads(accounts("create", ALICE, "--json").stdout)
    assert logs_in(host, ALICE, made["password"])
    accounts("delete", "--yes", ALICE)
    for name, text in host.logs().items():
        assert made["password"] not in text, name
