"""Two people on two chatmail hosts, with the newest Delta Chat core."""

import pytest


@pytest.fixture(scope="module")
def people(hosts, core):
    return (core.onboard(hosts["one"].site.chat_domain, name="anna"),
            core.onboard(hosts["two"].site.chat_domain, name="bert"))


def test_two_people_on_two_hosts_meet_and_talk(people):
    anna, bert = people
    bert.meet(anna)
    for sender, receiver in ((anna, bert), (bert, anna)):
        sender.send(sender.chat_with(receiver), f"Hello from {sender.address}")
        receiver.receive(f"Hello from {sender.address}")
