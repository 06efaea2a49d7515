"""The milter, black box: a real process of ours and the MTA's side of the protocol."""

import contextlib
import resource
import signal
import socket
import time
from pathlib import Path

import attacks
import goodmessages
import openpgpmessages
import outgoingrules
import pytest
from filterprocess import ALICE, BOB, GOOD, Filter
from milterclient import ACCEPT, MilterClient
from rig.speed import in_time

from chatmaild import cli, metrics
from chatmaild.config import inifile
from chatmaild.daemon import metricsocket

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    filter_ = Filter(tmp_path_factory.mktemp("filter"),
                     "[chatmaild]\nmail_domains = chat.test\nmax_user_send_burst_size = 100000\n")
    yield filter_
    filter_.stop()


@pytest.fixture
def client(running):
    client = running.client()
    yield client
    client.close()


def test_ordinary_mail_from_outside_is_never_shown(tmp_path):
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n", "--direction", "incoming")
    client = filter_.client()
    for sender in ("alice@one.test", ""):
        outcome = client.transaction(sender, ["bob@two.test"], [("From", b"x")], b"hi\r\n")
        assert (outcome.answer, outcome.at) == (ACCEPT, b"T")
    client.close()
    filter_.stop()
    assert "accept " not in filter_.logged()


def test_mail_goes_on_while_nobody_reads_the_log(tmp_path):
    """As with a journald that hangs: systemd's socket is full after some thousand lines."""
    unread, stderr = socket.socketpair()
    stderr.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with unread, stderr:
        filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n"
                         "max_user_send_burst_size = 1000\n", stderr=stderr)
        client = filter_.client()
        for _ in range(100):
            assert client.transaction(ALICE, [BOB], openpgpmessages.headers(ALICE), GOOD,
                                      login=ALICE).accepted
        client.close()
        filter_.stop()
        assert unread.recv(1 << 20).count(b"reason=encrypted") < 100, "it was full"


def test_several_messages_on_one_connection(client):
    for sender in (ALICE, ALICE):
        outcome = client.transaction(sender, [BOB], openpgpmessages.headers(sender), GOOD,
                                     login=sender)
        assert (outcome.answer, outcome.at) == (ACCEPT, b"E")
    outcome = client.transaction(ALICE, [BOB], [("From", b"<alice@chat.test>")], b"hi\r\n",
                                 login=ALICE)
    assert outcome.at == b"N"
    assert outcome.text == "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"
    outcome = client.transaction(ALICE, [BOB], openpgpmessages.headers(ALICE), GOOD, login=ALICE)
    assert outcome.accepted


def test_it_counts_what_it_says_and_shows_it_to_people(tmp_path, capsys):
    """No address is among it; and the report adds up what the services tell."""
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n"
                     f"mailboxes_dir = {tmp_path}/mail\npush_metrics_file = {tmp_path}/push\n"
                     f"metrics_listen = unix:{tmp_path}\n", "--recipients", "/nonexistent/socket")
    (tmp_path / "mail/chat.test").mkdir(parents=True)
    client = filter_.client()
    for body in (GOOD, GOOD, b"in the clear\r\n"):
        headers = openpgpmessages.headers(ALICE) if body is GOOD else [("From", ALICE.encode())]
        client.transaction(ALICE, [BOB], headers, body, login=ALICE)
    client.close()
    config = inifile.load(filter_.ini)
    text = metricsocket.ask(config, "filtermail")
    found = metrics.parse(text)
    assert {dict(labels)["verdict"]: count for labels, count
            in found["chatmaild_filter_verdicts_total"].items()} == {"accept": 2, "refuse": 1}
    [read] = found["chatmaild_filter_messages_total"].values()
    [octets] = found["chatmaild_filter_octets_total"].values()
    assert read == 2 and octets > 2 * len(GOOD) and "chat.test" not in text
    assert cli.main(["-c", str(filter_.ini), "report"]) == 0
    shown = capsys.readouterr().out
    assert "Outgoing mail since the filter started: 2 messages read" in shown
    assert "accept encrypted            2 " in shown and "doveauth" in shown
    filter_.stop()


@pytest.mark.parametrize("sender, login, code", [
    ("alice@chat.test", "bob@chat.test", "553 5.7.1"),
    ("alice@elsewhere.test", "bob@chat.test", "553 5.7.1"),
    ("", "bob@chat.test", "553 5.7.1"),
    ("alice@chat.test", "", "554 5.7.1"),
    ("alice@CHAT.test", "carol@ordinary.test", "554 5.7.1"),
])
def test_a_chat_address_needs_its_own_login(client, sender, login, code):
    outcome = client.transaction(sender, [BOB], openpgpmessages.headers(), GOOD, login=login)
    assert outcome.at == b"R" and outcome.text.startswith(code)


@pytest.mark.parametrize("many", [
    [("X-A", b"b")] * 1001, [("X-A", b"b" * 50_000)] * 11], ids=["many", "long"])
@pytest.mark.parametrize("author", ["bob@chat.test", "carol@ordinary.test"])
def test_no_author_hides_behind_other_headers(client, many, author):
    sender = "carol@ordinary.test"
    outcome = client.transaction(sender, ["dave@ordinary.test"],
                                 [*many, ("From", author.encode())], b"hi\r\n", login=sender)
    assert outcome.accepted is (author == sender), outcome.text


@pytest.mark.parametrize("direction, at", [("outgoing", b"N"), ("incoming", b"T")])
def test_octets_that_are_no_utf8_are_nobodys_business(tmp_path, direction, at):
    """As Postfix hands them over with smtputf8_enable = no."""
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n", "--direction", direction)
    client = filter_.client()
    outcome = client.transaction("m\udcfcller@one.test", ["j\udcfcrgen@two.test"],
                                 [("Subject", b"gr\xfc\xdfe")], b"\xfc\r\n")
    assert (outcome.answer, outcome.at) == (ACCEPT, at)
    outcome = client.transaction("m\udcfcller@one.test", ["j\udcfcrgen@chat.test"], [], b"")
    assert (outcome.at, outcome.text[:9]) == (b"R", "550 5.1.1") or outcome.at == b"N"
    client.close()
    filter_.stop()
    assert "rror" not in filter_.logged()


def test_used_up_descriptors_are_no_end(tmp_path):
    """More sessions than it has descriptors for wait or fail, and the next ones are served."""
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n")
    resource.prlimit(filter_.process.pid, resource.RLIMIT_NOFILE, (40, 40))
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            session = stack.enter_context(socket.socket(socket.AF_UNIX))
            session.connect(str(filter_.socket))
    client = filter_.client()
    assert client.transaction(ALICE, [BOB], openpgpmessages.headers(), GOOD, login=ALICE).accepted
    client.close()
    filter_.stop()


def test_while_nobody_tells_of_accounts_chat_users_wait(tmp_path):
    silent = tmp_path / "recipients.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(silent))
        filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n",
                         "--recipients", str(silent))
        client = filter_.client()
        outcome = client.transaction(ALICE, [BOB], openpgpmessages.headers(), GOOD, login=ALICE)
        assert (outcome.at, outcome.text[:9]) == (b"R", "451 4.3.0")
        client.abort()
        outcome = client.transaction("a@one.test", ["b@two.test"], [("To", b"x")], b"hi\r\n")
        assert outcome.accepted, "who is no chat user does not wait"
        client.close()
        filter_.stop()


def test_what_is_not_ours_is_never_looked_at(client):
    outcome = client.transaction("carol@ordinary.test", ["dave@ordinary.test"], [], b"hi\r\n")
    assert (outcome.answer, outcome.at) == (ACCEPT, b"N")


def test_headers_are_cleaned(client):
    outcome = client.transaction(
        ALICE, [BOB],
        [("Received", b"from a by b"), ("X-Mailer", b"x"), *openpgpmessages.headers(),
         ("Received", b"from c by d"), ("Subject", b"x")][:-1], GOOD, login=ALICE)
    assert outcome.changes == [(2, "Received", ""), (1, "X-Mailer", ""), (1, "Received", "")]


def test_sigterm_ends_it_soon_and_finishes_what_is_under_way(tmp_path):
    """Within a second on a machine that has nothing else to do; libmilter alone would take five."""
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n")
    client = filter_.client()
    client.define(b"M", **{"{auth_authen}": ALICE})
    client.ask(b"M", b"<alice@chat.test>\0")
    assert client.ask(b"R", b"<bob@chat.test>\0")[0] == b"c"
    idle = filter_.client()
    began = time.monotonic()
    filter_.process.send_signal(signal.SIGTERM)
    assert client.ask(b"T")[0] == b"c"
    for name, value in openpgpmessages.headers():
        client.ask(b"L", name.encode() + b"\0 " + value + b"\0")
    assert client.ask(b"N")[0] == b"c"
    client.ask(b"B", GOOD)
    assert client.ask(b"E")[0] == ACCEPT
    assert filter_.process.wait(60) == 0
    assert in_time(time.monotonic() - began, 3)
    idle.close()
    client.close()
    filter_.close()


def test_a_broken_configuration_is_refused_on_reload_and_the_old_one_kept(tmp_path):
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n")
    filter_.ini.write_text("[chatmaild]\nmail_domians = other.test\n")
    filter_.process.send_signal(signal.SIGHUP)
    filter_.wait_for_log("mail_domians.*did you mean mail_domains")
    client = filter_.client()
    assert client.transaction(ALICE, [BOB], [], b"").text.startswith("554")
    filter_.ini.write_text("[chatmaild]\nmail_domains = other.test\n")
    filter_.process.send_signal(signal.SIGHUP)
    filter_.wait_for_log("checking mail of other.test")
    assert client.transaction(ALICE, ["x@y.test"], [], b"").accepted
    client.close()
    filter_.stop()


def test_without_a_chat_domain_everything_is_accepted(tmp_path):
    filter_ = Filter(tmp_path, "[chatmaild]\n")
    client = filter_.client()
    outcome = client.transaction(ALICE, [BOB], [], b"hi\r\n")
    assert (outcome.answer, outcome.at) == (ACCEPT, b"R")
    client.close()
    filter_.stop()
    assert "mail_domains is empty, every message is accepted" in filter_.logged()


@pytest.mark.parametrize("commands", [
    [(b"M", b"<alice@chat.test>\0")], [(b"L", b"X\0 y\0"), (b"N", b"")], [(b"B", b"hello")],
    [(b"T", b"")], [(b"R", b"<bob@chat.test>\0")], [(b"E", b"")],
    [(b"M", b"<alice@chat.test>\0"), (b"R", b"<bob@chat.test>\0"), (b"T", b""),
     (b"L", b"X-\xff\0 x\0"), (b"N", b""), (b"B", GOOD), (b"E", b"")],
], ids=str)
def test_what_no_postfix_sends_is_never_accepted_and_harms_nobody(running, commands):
    """Commands before connect or out of order, header names that are not UTF-8. libmilter leaves
    some of it without an answer; Postfix would give up waiting and defer."""
    for connected in (False, True):
        client = MilterClient(running.socket)
        if connected:
            client.connect()
            client.define(b"M", **{"{auth_authen}": ALICE})
        for command, data in commands:
            client.send(command, data)
        client.send(b"Q")
        answers = []
        try:
            while True:
                answers.append(client.receive()[0])
        except (EOFError, ConnectionError):
            pass
        client.socket.close()
        assert ACCEPT not in answers
    other = running.client()
    assert other.transaction(ALICE, [BOB], openpgpmessages.headers(), GOOD, login=ALICE).accepted
    other.close()


def test_an_abort_leaves_nothing_behind(client):
    client.define(b"M", **{"{auth_authen}": ALICE})
    client.ask(b"M", b"<alice@chat.test>\0")
    client.ask(b"R", b"<bob@chat.test>\0")
    client.ask(b"T")
    client.ask(b"L", b"Content-Type\0 text/plain\0")
    client.abort()
    outcome = client.transaction(ALICE, [BOB], openpgpmessages.headers(), GOOD, login=ALICE)
    assert outcome.accepted


def test_an_mta_that_offers_nothing_gets_an_answer_to_everything(running):
    client = MilterClient(running.socket, protocol=0)
    client.connect()
    client.ask(b"H", b"client.test\0")
    outcome = client.transaction(ALICE, [BOB], openpgpmessages.headers(), GOOD, login=ALICE)
    assert outcome.accepted
    client.close()


def test_many_sessions_at_once(running):
    clients = [running.client() for _ in range(50)]
    for client in clients:
        client.define(b"M", **{"{auth_authen}": ALICE})
        client.ask(b"M", b"<alice@chat.test>\0")
    for client in clients:
        client.ask(b"R", b"<bob@chat.test>\0")
        client.ask(b"T")
    for client in clients:
        for name, value in openpgpmessages.headers():
            client.ask(b"L", name.encode() + b"\0 " + value + b"\0")
        client.ask(b"N")
    for client in clients:
        client.ask(b"B", GOOD)
    assert {client.ask(b"E")[0] for client in clients} == {ACCEPT}
    for client in clients:
        client.close()


def test_the_tables_through_the_protocol(running):
    """The same verdicts as in test_outgoing, by the same rows, through libmilter."""
    client = running.client()
    for number, (name, message_headers, body) in enumerate([*attacks.table(),
                                                            *goodmessages.table()]):
        if len(body) > 100_000 or any("\0" in n or b"\0" in v for n, v in message_headers):
            continue    # libmilter cuts a header at NUL, as Postfix does to the mail itself
        outcome = client.transaction(ALICE, [BOB], message_headers, body, login=ALICE, chunk=4000)
        expected = outgoingrules.judge(message_headers, body)
        assert outcome.accepted == expected.accepted, name
        if expected.accepted:
            assert [(n, v.strip()) for _, n, v in outcome.changes] == [
                (change.name, change.value or "") for change in expected.changes], name
        else:
            reply = expected.reply
            assert outcome.text == f"{reply.code} {reply.status} {reply.text}", name
            client.abort()
    client.close()


def test_sending_too_fast_is_a_temporary_refusal(tmp_path):
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n"
                     "max_user_send_per_minute = 1\nmax_user_send_burst_size = 2\n")
    client = filter_.client()
    answers = [client.transaction(sender, [BOB], openpgpmessages.headers(), GOOD, login=ALICE)
               for sender in (ALICE, "Alice@Chat.Test", ALICE)]
    assert [outcome.accepted for outcome in answers] == [True, True, False]
    assert answers[2].text.startswith("450 4.7.1")
    client.close()
    filter_.stop()


def test_a_size_declared_too_large_is_refused_before_the_message(client):
    outcome = client.transaction(ALICE, [BOB], [], b"", login=ALICE,
                                 parameters=[b"BODY=8BITMIME", b"size=99999999"])
    assert outcome.at == b"R" and outcome.text.startswith("552 5.3.4")


def test_a_refused_sender_is_refused_for_each_recipient_and_logged_once(tmp_path):
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n")
    client = filter_.client()
    client.ask(b"M", b"<alice@chat.test>\0")
    for _ in range(3):
        assert client.ask(b"R", b"<bob@chat.test>\0")[1].startswith("554 5.7.1")
    client.close()
    filter_.stop()
    assert filter_.logged().count("reason=sender-without-login") == 1


def test_local_mail_is_never_refused_for_a_recipient(tmp_path):
    """cleanup(8) takes such a refusal for a mistake of the admin, and keeps the message."""
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n",
                     "--direction", "incoming")
    client = MilterClient(filter_.socket)
    client.connect("localhost", "127.0.0.1", 0)
    outcome = client.transaction(ALICE, [BOB], [("From", b"x")], b"hi\r\n")
    assert outcome.at == b"T" and outcome.text.startswith("554 5.7.1")
    client.close()
    filter_.stop()


def test_logs_hold_no_address_subject_or_client(running, client):
    message_headers = attacks.replaced("Subject", b"TopSecretSubject")
    client.transaction(ALICE, [BOB], message_headers, GOOD, login=ALICE, queue_id="4LOGTEST")
    running.wait_for_log("4LOGTEST: outgoing accept reason=encrypted from=addr-[0-9a-f]{10}")
    for secret in ("alice", "bob@", "TopSecret", "192.0.2.1"):
        assert secret not in running.logged()


@pytest.mark.parametrize("place", ["mail", "recipient", "data", "headers", "body", "finish"])
def test_an_unexpected_error_is_a_temporary_failure(tmp_path, place):
    program = tmp_path / "faulty.py"
    program.write_text(FAULTY.format(place=place))
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n", program=[str(program)])
    client = filter_.client()
    for _ in range(2):
        outcome = client.transaction(ALICE, [BOB], openpgpmessages.headers(), GOOD, login=ALICE)
        assert outcome.text.startswith("451 4.3.0") and "planted" not in outcome.text
        client.abort()
    client.close()
    filter_.stop()
    assert filter_.logged().count("ZeroDivisionError: planted") == 2


FAULTY = """
import sys
from chatmaild.cli import main
from chatmaild.filter.transaction import Transaction

def fault(*_):
    raise ZeroDivisionError("planted")

Transaction.{place} = fault
sys.exit(main())
"""
