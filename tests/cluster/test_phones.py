"""Phones with the real Delta Chat core that are connected to the wrong host."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from cluster.clients import PASSWORD
from network import phones

REGISTERING = Path(__file__).parents[1] / "rig/phone.py"


def login(address, host):
    """A login link for an account that exists, with the host to connect to."""
    name = host.site.name
    return (f"dclogin:{address}?p={quote(PASSWORD)}&v=1&ih={name}&ip=993&is=ssl"
            f"&sh={name}&sp=465&ss=ssl&ic=3")


def test_two_people_who_are_both_connected_to_the_wrong_host(cluster, connect, tmp_path):
    left, right = cluster.left, cluster.right
    (tmp_path / "two").mkdir()
    with phones.core(tmp_path) as one, phones.core(tmp_path / "two") as two:
        people = []
        for core, home, other in ((one, left, right), (two, right, left)):
            person = core.profile()
            person.addresses.append(connect.person(home))
            person.ask("add_transport_from_qr", login(person.address, other))
            person.go_online()
            people.append(person)
        anna, bert = people
        bert.meet(anna)
        for sender, receiver in ((anna, bert), (bert, anna)):
            sender.send(sender.chat_with(receiver), f"Hello from {sender.address}")
            receiver.receive(f"Hello from {sender.address}")
    assert not right.has_mailbox(anna.address) and not left.has_mailbox(bert.address)


def test_a_phone_that_knows_the_wrong_host_rings(cluster, connect, gateway, tmp_path):
    """Its core registers through that host, and the mail comes to that host."""
    anna, bert = connect.person(cluster.left), connect.person(cluster.right)
    done = subprocess.run(
        [sys.executable, REGISTERING,
         phones.packages("client") / "deltachat/capi.abi3.so", tmp_path / "phone",
         login(anna, cluster.right), "apns-token-of-a-phone"],
        input="", stdout=subprocess.PIPE, text=True)
    assert done.stdout == "registered\n"
    connect.send(cluster.right, bert, anna)
    token = gateway.next()
    assert token.startswith("openpgp:") and "apns" not in token
