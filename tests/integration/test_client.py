"""The real Delta Chat core as the client: onboarding, contact, messages and files."""

import dataclasses
import gzip
import json
import os
import random
import re
import time
import zipfile
from pathlib import Path
from urllib.parse import quote

import outgoingrules
import pytest
from rig.until import until

from chatmaild.filter.questions import run

PASSWORD = "the clients' own secret"
SIZE = 2_000_000
PATIENCE = 180
"""Seconds that a core may take to send, which limits itself to a few messages a minute."""


@pytest.fixture(scope="module")
def people(running_host, core):
    """anna and bert, onboarded by logging in, and verified contacts by securejoin."""
    anna, bert = (_onboard(core, f"{name}@{running_host.chat_domain}")
                  for name in ("annaphone", "bertphone"))
    bert.secure_join(anna.get_qr_code())
    anna.wait_for_securejoin_inviter_success()
    bert.wait_for_securejoin_joiner_success()
    return anna, bert


def _onboard(core, address):
    account = core.add_account()
    account.add_transport_from_qr(
        f"dclogin:{address}?p={quote(PASSWORD)}&v=1&ih=127.0.0.1&ip=993&is=ssl"
        "&sh=127.0.0.1&sp=465&ss=ssl&ic=3")
    account.bring_online()
    return account


def test_onboarding_made_the_accounts(host, people):
    for name in ("annaphone", "bertphone"):
        assert (host.mailbox(f"{name}@{host.chat_domain}") / "password").exists()


@pytest.mark.parametrize("direction", ["anna to bert", "bert to anna"])
def test_messages_go_both_ways(people, direction):
    sender, receiver = people if direction.startswith("anna") else reversed(people)
    sender.create_chat(receiver).send_text(f"Hello from {direction}")
    message = receiver.wait_for_incoming_msg().get_snapshot()
    assert message.text == f"Hello from {direction}"
    assert message.show_padlock


def test_a_large_file_arrives_whole(people, tmp_path):
    sender, receiver = people
    content = os.urandom(SIZE)
    path = tmp_path / "picture.bin"
    path.write_bytes(content)
    sender.create_chat(receiver).send_file(str(path))
    message = receiver.wait_for_incoming_msg()
    snapshot = until(lambda: (m := message.get_snapshot()).download_state == "Done" and m,
                     "the whole file", PATIENCE)
    assert Path(snapshot.file).read_bytes() == content


@pytest.fixture
def turn_server(host):
    """The host offers a TURN server for the length of a test."""
    before, secret = host.ini.read_text(), host.ini.parent / "turn.secret"
    secret.write_text("a secret\n")
    host.configure(before.replace(
        "[chatmaild]", "[chatmaild]\nturn_server = localhost:34780\n"
        f"turn_secret_file = {secret}", 1))
    yield "turn:127.0.0.1:34780"
    host.configure(before)
    secret.unlink()


def test_the_client_learns_where_to_relay_calls(host, core, turn_server):
    account = _onboard(core, f"callphone@{host.chat_domain}")

    def servers():
        return [(url, server.get("username")) for server in json.loads(
            core.rpc.ice_servers(account.id)) for url in server["urls"]]

    _, username = until(lambda: next((pair for pair in servers() if pair[0] == turn_server), None),
                        f"{turn_server} among the servers")
    assert int(username) > time.time() + 4 * 86_400, "credentials are good for five days"


def _kinds(anna, bert, tmp_path):
    """name: what makes a core send a message of that kind."""
    # Both send, because a core sends itself no more than some six messages a minute.
    to_bert, to_anna = anna.create_chat(bert), bert.create_chat(anna)
    picture, app = tmp_path / "picture.png", tmp_path / "app.xdc"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(30_000))
    with zipfile.ZipFile(app, "w") as archive:
        archive.writestr("index.html", "<html>hello</html>")
    yield "text", lambda: to_bert.send_text("hello")
    last = until(lambda: [message for message in to_anna.get_messages()
                          if message.get_snapshot().text == "hello"],
                 "the text at bert's", PATIENCE)[-1]
    yield "reaction", lambda: last.send_reaction("\N{THUMBS UP SIGN}")
    yield "read receipt", lambda: last.mark_seen()
    yield "picture", lambda: to_anna.send_file(str(picture))
    sent = []
    yield "app", lambda: sent.append(to_anna.send_file(str(app)))
    yield "app update", lambda: sent[0].send_webxdc_status_update(
        {"payload": "moved", "summary": "moved"}, "")
    group = anna.create_group("Group")
    group.add_contact(anna.create_contact(bert))
    yield "group", lambda: group.send_text("hello, all")
    channel = anna.create_broadcast("Channel")
    yield "joining a channel", lambda: bert.secure_join(channel.get_qr_code())
    until(lambda: channel.get_contacts(), "bert in the channel", PATIENCE)
    yield "channel", lambda: channel.send_text("hello, everybody")
    bert.set_config("bcc_self", "1")
    yield "to oneself", lambda: bert.self_contact.create_chat().send_text("a note")


def _stored(host, names):
    """The messages in these mailboxes as they were delivered, by Message-ID."""
    while True:
        try:
            return _listed(host, names)
        except FileNotFoundError:
            continue    # a client has set a flag meanwhile, which is part of the name


def _listed(host, names):
    found = {}
    for name in names:
        for path in host.mailbox(f"{name}@{host.chat_domain}").glob("**/*"):
            if path.parent.name in ("new", "cur"):
                octets = path.read_bytes()
                octets = gzip.decompress(octets) if octets[:2] == b"\x1f\x8b" else octets
                octets = octets.replace(b"\r\n", b"\n")
                found[re.search(rb"(?im)^message-id:\s*(\S+)", octets)[1]] = octets
    return found


def _submitted(octets):
    """Sender, headers and body of a delivered message, without what servers wrote on top."""
    head, _, body = octets.partition(b"\n\n")
    headers = []
    for line in re.split(rb"\n(?![ \t])", head):
        name, _, value = line.partition(b":")
        if name.lower() not in (b"received", b"return-path", b"delivered-to"):
            headers.append((name.decode(), value.strip()))
    sender = re.search(rb"<(.+)>", dict(headers)["From"])[1].decode()
    return sender, headers, body.replace(b"\n", b"\r\n")


def test_every_kind_of_message_is_encrypted_however_it_is_cut(host, people, tmp_path):
    """What the core really sends, captured here, read again in pieces of any size."""
    names = ("annaphone", "bertphone")
    captured = _stored(host, names)     # onboarding and securejoin
    for kind, send in _kinds(*people, tmp_path):
        send()
        more = until(lambda: {key: octets for key, octets in _stored(host, names).items()
                              if key not in captured}, f"a message: {kind}", PATIENCE)
        captured.update(more)
    for octets in captured.values():
        sender, headers, body = _submitted(octets)
        for largest in (65535, 5000, 100):
            domain = dataclasses.replace(outgoingrules.DOMAIN, name=sender.rpartition("@")[2])
            session = outgoingrules.begun(domain, sender, [sender])
            rules = session.transaction
            assert rules.data() or rules.headers(headers, session.now) is None, headers
            cuts, at = random.Random(len(body)), 0
            while at < len(body):
                cut = cuts.randint(1, largest)
                rules.body(body[at:at + cut])
                at += cut
            found = run(rules.finish(), session.world)
            assert found.reason in ("encrypted", "securejoin"), (found, headers)
