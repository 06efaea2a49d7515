"""What the outgoing filter learns about a mailbox, from the disk through the socket."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from dictclient import DictClient, Running
from filterworld import Session, World

from chatmaild import cli
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.admin import filtertest
from chatmaild.config import inifile
from chatmaild.errors import StoreError
from chatmaild.filter.client import Client
from chatmaild.filter.mailboxlookup import Seen, Told
from chatmaild.filter.questions import Account, MailboxState
from chatmaild.services.recipients import RecipientService

ALICE = "alice@chat.example"


@pytest.fixture
def config(tmp_path):
    ini = f"[chatmaild]\nmail_domains = chat.example\nmailboxes_dir = {tmp_path}/mail\n"
    (tmp_path / "chatmaild.ini").write_text(ini)
    (tmp_path / "mail/chat.example").mkdir(parents=True)
    return inifile.load(tmp_path / "chatmaild.ini")


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "mail/chat.example" / ALICE
    home.mkdir()
    return home


def test_the_state_of_a_mailbox(config, home):
    seen = Seen(Mailboxes(config))
    assert seen.mailbox(ALICE) is MailboxState.UNKNOWN
    (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
    assert seen.mailbox("Alice+x@chat.example") is MailboxState.OPEN
    (home / "enforceE2EEincoming").touch()
    assert seen.mailbox("alice@CHAT.example") is MailboxState.ENFORCING
    (home / "blocked").touch()
    assert seen.mailbox("alice+x@chat.example") is MailboxState.BLOCKED
    assert seen.mailbox("../x@chat.example") is MailboxState.UNKNOWN


def test_a_disk_that_cannot_tell_is_named_without_the_address(config):
    config.mailboxes_dir.joinpath("chat.example").rmdir()
    with pytest.raises(StoreError) as caught:
        Seen(Mailboxes(config)).mailbox(ALICE)
    assert "alice" not in str(caught.value)


def test_an_account_sends_at_a_rate_of_its_own(config, home, path):
    (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
    (home / "settings").write_text("max_user_send_per_minute = 600\n")
    assert Told(path).account(ALICE) == Account(MailboxState.OPEN, None, 600, None)
    world = World()
    world.account, asked = Told(path).account, []
    world.may_send = lambda sender, now, per_minute, burst: asked.append((per_minute, burst))
    assert Session(config, Client(login=ALICE), world).mail(f"<{ALICE}>").reason == "too-fast"
    assert asked == [(600, 10)]


def test_settings_that_cannot_be_read_keep_nobody_from_sending(config, home, path, caplog):
    (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
    (home / "settings").write_text("rubbish\n")
    assert Told(path).account(ALICE) == Account(MailboxState.OPEN)
    assert "settings" in caplog.text and "alice" not in caplog.text


@pytest.fixture
def running(config, tmp_path):
    """Makes the service, to be entered; its socket is recipients.sock."""

    def service():
        made = RecipientService()
        made.configure(config)
        return made

    return lambda: Running(service, tmp_path / "recipients.sock")


@pytest.fixture
def path(running, tmp_path):
    """The socket of the service, which runs."""
    with running():
        yield tmp_path / "recipients.sock"


def test_told_is_what_is_seen(config, home, path):
    seen, told = Seen(Mailboxes(config)), Told(path)
    for name in (None, "password", "enforceE2EEincoming", "blocked"):
        if name:
            (home / name).write_text("{SHA512-CRYPT}$6$x\n")
        for address in (ALICE, "Alice+x@CHAT.example", "nobody@chat.example", "a@other.example",
                        "a\tb\n@chat.example", "\udcff@chat.example", "x" * 5000):
            assert told.mailbox(address) is seen.mailbox(address), address
            assert told.account(address) == seen.account(address), address
    assert told.mailbox(ALICE) is MailboxState.BLOCKED


def test_filter_test_asks_where_it_cannot_see(path, home, tmp_path, monkeypatch, capsys):
    (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
    monkeypatch.setattr(filtertest, "SOCKET", path)
    blind = tmp_path / "blind.ini"
    blind.write_text(f"[chatmaild]\nmail_domains = chat.example\nmailboxes_dir = {tmp_path}/no\n"
                     "incoming_authenticity = off\n")
    mail = tmp_path / "mail.eml"
    mail.write_text(f"From: x@elsewhere.example\nTo: {ALICE}\n\nHello\n")
    assert cli.main(["-c", str(blind), "filter-test", "--direction", "incoming", "--json",
                     str(mail)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mailboxes"] == {ALICE: "takes cleartext"}


def test_nothing_else_is_answered(path, home):
    (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
    with DictClient(path) as client:
        for line in (b"Lshared/userdb/" + ALICE.encode(), b'Lshared/passdb/x"' + ALICE.encode(),
                     b"Lshared/mailbox/\xff", b"Lpriv/x"):
            assert client.ask(line) == b"N\n"
        assert client.ask(b"Lshared/mailbox/" + ALICE.encode()) == b"Oopen\n"


def test_the_ending_of_an_earlier_account_is_told(config, path):
    alice, told = Mailboxes(config).find(ALICE), Told(path)
    alice.create("{PLAIN}x", 0.0)
    assert told.account(ALICE) == Account(MailboxState.ENFORCING)
    alice.delete()
    assert told.account(ALICE) == Account(MailboxState.UNKNOWN, alice.ended())
    alice.settle()
    alice.create("{PLAIN}x", 0.0)
    assert told.account(ALICE) == Account(MailboxState.ENFORCING, alice.ended())


def test_a_restart_of_the_service_is_not_noticed(running, home, tmp_path):
    (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
    told = Told(tmp_path / "recipients.sock")
    for _ in range(3):
        with running():
            assert [told.mailbox(ALICE) for _ in range(3)] == [MailboxState.OPEN] * 3


def test_many_ask_at_once(path, home):
    (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
    told = Told(path)
    addresses = [ALICE, "nobody@chat.example"] * 200
    with ThreadPoolExecutor(40) as askers:
        assert list(askers.map(told.mailbox, addresses)) == [
            MailboxState.OPEN, MailboxState.UNKNOWN] * 200


def test_a_socket_that_was_there_is_missed(running, tmp_path):
    path = tmp_path / "recipients.sock"
    told = Told(path)
    with running():
        told.mailbox(ALICE)
    path.unlink()
    for ask in (told.mailbox, told.account):
        with pytest.raises(StoreError, match="restart chatmaild-recipients.socket"):
            ask(ALICE)


def test_trouble_is_no_answer(config, path, tmp_path):
    config.mailboxes_dir.joinpath("chat.example").rmdir()
    with pytest.raises(StoreError, match="reports trouble"):
        Told(path).mailbox(ALICE)


def test_a_service_that_is_dead_or_hangs_is_trouble(tmp_path, monkeypatch):
    monkeypatch.setattr("chatmaild.filter.mailboxlookup.TIMEOUT", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        with pytest.raises(StoreError, match="refused.*running"):
            Told(tmp_path / "sock").mailbox(ALICE)
        listener.listen()
        with pytest.raises(StoreError, match="timed out"):
            Told(tmp_path / "sock").mailbox(ALICE)


def test_without_the_service_everybody_wants_encryption(tmp_path, caplog):
    told = Told(tmp_path / "none.sock")
    assert [told.mailbox(ALICE), told.mailbox("x@chat.example")] == [MailboxState.ENFORCING] * 2
    assert caplog.text.count("chatmaild-recipients.socket") == 1


@pytest.mark.parametrize("recipient, state, status", [
    ("bob@chat.example", MailboxState.UNKNOWN, "5.1.1"),
    ("bob@chat.example", MailboxState.BLOCKED, "5.1.1"),
    ("bob@chat.example", MailboxState.OPEN, None),
    ("bob@chat.example", MailboxState.ENFORCING, None),
    ("postmaster@chat.example", MailboxState.UNKNOWN, None),
    (ALICE.upper(), MailboxState.UNKNOWN, None),
    ("bob@elsewhere.example", MailboxState.UNKNOWN, None),
])
def test_a_chat_user_learns_at_rcpt_who_is_not_there(config, recipient, state, status):
    world = World()
    world.mailbox = lambda address: state
    session = Session(config, Client(login=ALICE), world)
    assert session.mail(f"<{ALICE}>") is None
    refused = session.recipient(f"<{recipient}>")
    assert (refused and refused.reply.status) == status
    assert session.transaction.direction == "outgoing"
