"""How Postfix gives mail to another host: by few connections, to nobody else, once."""

import pytest
from cluster.clients import STRANGER, in_luck
from cluster.lmtpserver import Server
from network.sites import PHONES
from network.world import Authority
from rig.until import until

MANY = 8
"""Messages at a time. A person may send ten, and Postfix begins with five connections to a host."""


@pytest.fixture(params=["left", "right"])
def here(request, cluster):
    """A host that gives the mail away, Debian 12 and 13."""
    return getattr(cluster, request.param)


@pytest.fixture
def there(cluster, here):
    """The other one."""
    return cluster.right if here is cluster.left else cluster.left


@pytest.fixture
def lead(here):
    """Has mail for recipients go elsewhere, until the end of the test."""
    yield here.lead
    here.lead({})


@pytest.fixture
def certificate(cluster, there):
    """What the other host shows."""
    return cluster.certify("there", [f"DNS:{there.site.name}"])


def test_messages_share_a_connection_and_survive_its_end(here, there, connect, lead, certificate):
    """An idle one is kept for two seconds only, so many messages come at a time."""
    bert = connect.person(there)
    lead({bert: PHONES})
    with Server(PHONES, certificate) as server:
        sent = 0

        def again():
            nonlocal sent
            connect.send(here, connect.person(here), bert, MANY)
            sent += MANY
            until(lambda: len(server.messages) >= sent and not here.waiting(), "the mail")
            return "RSET" in server.commands

        until(again, "a connection that is used again")
        before = len(server.connections)
        server.hang_up()
        again()
        assert len(server.connections) > before
        assert len(server.messages) == sent


def test_mail_waits_while_the_other_host_does_not_prove_who_it_is(
        here, there, cluster, connect, lead, certificate, tmp_path):
    anna, bert, carl = connect.person(here), connect.person(there), connect.person(there)
    name = [f"DNS:{there.site.name}"]
    bad = {
        "another authority": Authority(tmp_path).certify("stranger", name),
        "another name": cluster.certify("elsewhere", ["DNS:elsewhere.example", f"IP:{PHONES}"]),
        "a certificate that has ended": cluster.certify("ended", name, days=-1),
        "no TLS": None}
    lead({bert: PHONES, carl: STRANGER})
    with Server(STRANGER, certificate) as honest:
        for number, (fault, shown) in enumerate(bad.items(), 1):
            connect.send(here, anna, carl)
            until(lambda: len(honest.messages) == number, "mail to a host that is known")
            with Server(PHONES, shown) as server:
                connect.send(here, anna, bert)
                until(lambda: "QUIT" in server.commands, f"{fault} to be seen")
                assert "MAIL" not in server.commands and not server.messages, fault
        until(lambda: len(here.waiting()) == len(bad), "all of it in the queue")
        assert len(honest.messages) == len(bad), "none of it went by another's connection"
    lead({})
    until(lambda: here.try_again() or in_luck(lambda: connect.messages(there, bert) == len(bad)),
          "mail that waited", pause=1)
