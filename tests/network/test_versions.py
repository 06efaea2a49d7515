"""Older cores, which people still have, over two hosts.

Those since 1.160 talk to the newest one. Those before do not understand its answers, whichever
servers they have, but talk to each other.
"""

import pytest

TOO_OLD = ("core-1.155.6", "core-1.142.7", "core-1.131.4")


@pytest.fixture
def old(hosts, old_core):
    return old_core.onboard(hosts["one"].site.chat_domain, name="old")


@pytest.fixture
def new(hosts, core, old_core, request):
    """Somebody on the other host, with the newest core that can be talked to."""
    kind = request.node.callspec.params["old_core"]
    return (old_core if kind in TOO_OLD else core).onboard(
        hosts["two"].site.chat_domain, name="new")


@pytest.mark.parametrize("scans", ["old", "new"])
def test_an_old_core_and_the_newest_meet_and_talk(old, new, scans):
    """An old core knows legacy invitations only; it makes no others either."""
    if scans == "old":
        old.meet(new, legacy=True)
    else:
        new.meet(old)
    for sender, receiver in ((old, new), (new, old)):
        for words in ("Hello", "And more"):
            sender.send(sender.chat_with(receiver), f"{words} from {sender.address}")
            receiver.receive(f"{words} from {sender.address}")


def test_a_large_file_comes_to_an_old_core(old, new, tmp_path):
    old.meet(new, legacy=True)
    content = b"%PDF- not really" * (2_000_000 // 16)
    path = tmp_path / "large.pdf"
    path.write_bytes(content)
    new.send(new.chat_with(old), "The plan", path)
    old.receive_file(old.chat_with(new), content)


def test_a_group_of_two_old_ones_and_a_new_one(hosts, old_core, old, new):
    third = old_core.onboard(hosts["two"].site.chat_domain, name="third")
    old.meet(new, legacy=True)
    old.meet(third)
    group = old.group("Plans", new, third)
    old.send(group, f"The plan of {old.address}")
    new.receive(f"The plan of {old.address}")
    third.receive(f"The plan of {old.address}")
