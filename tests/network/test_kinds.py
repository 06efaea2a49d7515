"""Every kind of message that the newest Delta Chat core sends, between two hosts and both ways."""

import os
import zipfile

import pytest
from network.phones import soon

GREETING = "Hello there, the first"


@pytest.fixture(scope="module")
def people(hosts, core):
    anna = core.onboard(hosts["one"].site.chat_domain, name="anna")
    bert = core.onboard(hosts["two"].site.chat_domain, name="bert")
    bert.meet(anna)
    anna.send(anna.chat_with(bert), GREETING)
    bert.receive(GREETING)
    return anna, bert


@pytest.fixture
def anna(people):
    return people[0]


@pytest.fixture
def bert(people):
    return people[1]


def test_receipts_and_reactions(anna, bert):
    sent = anna.send(anna.chat_with(bert), "Did you read it?")
    got = bert.receive("Did you read it?")
    bert.ask("markseen_msgs", [got["id"]])
    soon(lambda: anna.ask("get_message_read_receipts", sent), "the receipt")
    bert.ask("send_reaction", got["id"], ["\N{THUMBS UP SIGN}"])
    soon(lambda: anna.reactions(sent) == ["\N{THUMBS UP SIGN}"], "the reaction")


def test_edits_and_deletions(anna, bert):
    sent = anna.send(anna.chat_with(bert), "Helo")
    got = bert.receive("Helo")
    anna.ask("send_edit_request", sent, "Hello, mended")
    soon(lambda: bert.message(got["id"])["text"] == "Hello, mended", "the edit")
    anna.ask("delete_messages_for_all", [sent])
    soon(lambda: not bert.ask("get_existing_msg_ids", [got["id"]]), "the deletion")


@pytest.mark.parametrize("size", [30_000, 2_000_000, 15_000_000])
def test_files_arrive_whole(anna, bert, tmp_path, size):
    """Above half a megabyte a message comes as two: what it is, and then the file itself."""
    path = tmp_path / f"picture{size}.bin"
    path.write_bytes(os.urandom(size))
    anna.send(anna.chat_with(bert), f"a file of {size}", path)
    bert.receive_file(bert.chat_with(anna), path.read_bytes())


def test_apps_and_their_updates(anna, bert, tmp_path):
    app = tmp_path / "app.xdc"
    with zipfile.ZipFile(app, "w") as archive:
        archive.writestr("index.html", "<html>hello</html>")
    sent = anna.send(anna.chat_with(bert), "an app", app)
    got = bert.receive("an app")
    for phone, message, move in ((anna, sent, "first"), (bert, got["id"], "second")):
        phone.ask("send_webxdc_status_update", message, f'{{"payload": "{move}"}}', "moved")
    for phone, message in ((anna, sent), (bert, got["id"])):
        soon(lambda: sorted(phone.updates(message)) == ["first", "second"], "both moves")


def test_calls_ring_and_end(anna, bert):
    call = anna.ask("place_outgoing_call", anna.chat_with(bert), "an offer", False)
    ringing = soon(lambda: [number for number in bert.ask("get_message_ids", bert.chat_with(anna),
                                                          False, False)
                            if bert.message(number)["viewType"] == "Call"], "the call")[-1]
    assert bert.ask("call_info", ringing)["sdpOffer"] == "an offer"
    bert.ask("accept_incoming_call", ringing, "an answer")
    soon(lambda: anna.ask("call_info", call)["state"]["kind"] == "Active", "the answer")
    anna.ask("end_call", call)
    soon(lambda: bert.ask("call_info", ringing)["state"]["kind"] == "Completed", "the end")


def test_a_channel_is_joined_and_read(anna, bert):
    channel = anna.ask("create_broadcast", "News")
    bert.ask("secure_join", anna.invitation(channel))
    soon(lambda: anna.ask("get_chat_contacts", channel), "the reader")
    anna.send(channel, "Here is the news")
    bert.receive("Here is the news")


def test_a_group_of_five_on_both_hosts(hosts, core, anna, bert):
    others = [core.onboard(hosts[key].site.chat_domain, name=name)
              for key, name in (("one", "carla"), ("two", "david"), ("two", "erika"))]
    for other in others:
        other.meet(anna)
    group = anna.group("Five", bert, *others)
    anna.send(group, "Welcome, all of you")
    chats = [(phone, phone.receive("Welcome, all of you")["chatId"]) for phone in (bert, *others)]
    for phone, chat in chats[::3]:
        phone.send(chat, f"Thanks from {phone.address}")
        for reader in (anna, *(one for one, _ in chats if one is not phone)):
            reader.receive(f"Thanks from {phone.address}")


def test_what_the_blocked_write_is_not_seen_and_not_refused(anna, bert):
    contact, chat = bert.knows(anna), bert.chat_with(anna)
    bert.ask("block_contact", contact)
    anna.send(anna.chat_with(bert), "Can you hear me?")
    soon(lambda: "Can you hear me?" in [bert.message(number)["text"] for number in
                                        bert.ask("get_message_ids", chat, False, False)],
         "the message")
    assert not bert.ask("search_messages", "Can you hear me?", None)
    bert.ask("unblock_contact", contact)
    anna.send(anna.chat_with(bert), "And now?")
    bert.receive("And now?")


def test_a_profile_moves_to_a_second_device(core, anna, bert, tmp_path):
    anna.ask("stop_io")
    anna.ask("export_backup", str(tmp_path), "")
    anna.ask("start_io")
    second = core.profile()
    backup, = tmp_path.glob("*.tar")
    second.ask("import_backup", str(backup), "")
    second.addresses = anna.addresses
    second.go_online()
    bert.send(bert.chat_with(anna), "To both of your devices")
    for device in (anna, second):
        device.receive("To both of your devices")
    second.send(second.chat_with(bert), "From my second device")
    bert.receive("From my second device")
