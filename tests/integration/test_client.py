"""The real Delta Chat core as the client: onboarding, contact, messages and files."""

import json
import os
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from rig.until import until

PASSWORD = "the clients' own secret"
SIZE = 2_000_000


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
                     "the whole file", 60)
    assert Path(snapshot.file).read_bytes() == content


@pytest.fixture
def turn_server(host):
    """The host offers a TURN server for the length of a test."""
    before, secret = host.ini.read_text(), host.ini.parent / "turn.secret"
    secret.write_text("a secret\n")
    count = host.services["metadata"].log_text().count("read again")
    host.configure(before.replace(
        "[chatmaild]", "[chatmaild]\nturn_server = localhost:34780\n"
        f"turn_secret_file = {secret}", 1))
    until(lambda: host.services["metadata"].log_text().count("read again") > count, "reloaded")
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
