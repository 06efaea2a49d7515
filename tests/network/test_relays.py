"""Profiles with several addresses, on both hosts: the core names all of them in its key."""

import pytest
from network.phones import soon


@pytest.fixture(scope="module")
def domains(hosts):
    return [hosts[key].site.chat_domain for key in ("one", "two")]


@pytest.fixture(params=[1, 3, 5], ids="{} addresses".format)
def many(core, domains, request):
    """Somebody with so many addresses, taken from both hosts in turn."""
    return core.onboard(*(domains * 3)[:request.param], name="many")


@pytest.fixture
def peer(core, domains):
    return core.onboard(domains[1], name="peer")


def talk(*people):
    for sender, receiver in (people, people[::-1]):
        for text in (f"{word} from {sender.address}" for word in ("Hello", "And more")):
            sender.send(sender.chat_with(receiver), text)
            receiver.receive(text)


@pytest.mark.parametrize("legacy", [False, True], ids=["new invitation", "legacy invitation"])
@pytest.mark.parametrize("scans", ["many", "peer"])
def test_meeting_and_talking(many, peer, scans, legacy):
    one, other = (many, peer) if scans == "many" else (peer, many)
    one.meet(other, legacy=legacy)
    talk(many, peer)


def test_a_group_is_joined_with_a_key_that_names_all_addresses(many, peer):
    group = peer.group("By code")
    many.ask("secure_join", peer.invitation(group, legacy=True))
    soon(lambda: len(peer.ask("get_chat_contacts", group)) == 2, "the guest in the group")
    peer.send(group, f"Welcome, {many.address}")
    many.receive(f"Welcome, {many.address}")


def test_an_address_goes_and_another_comes(core, domains, peer):
    many = core.onboard(*domains, name="moves")
    many.meet(peer)
    talk(many, peer)
    first = many.addresses[0]
    added = many.add_relay(domains[0], "moves")
    many.ask("set_config", "configured_addr", added)
    many.ask("delete_transport", first)
    many.addresses.remove(first)
    soon(lambda: many.ask("get_connectivity") >= 4000, "the others to be online")
    talk(many, peer)
