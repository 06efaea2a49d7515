"""One walk through the life of a chat domain, on a host of Debian 12 and one of Debian 13."""

import contextlib

from cluster.clients import DOMAIN, in_luck
from rig.stock import ORDINARY_USERS
from rig.until import until

TOKEN = "token-of-a-phone"


def test_from_a_first_account_to_a_lost_host_and_back(cluster, connect, gateway):
    one, two = cluster.left, cluster.right
    anna, bert = connect.person(one), connect.person(two)
    assert one.has_mailbox(anna) and not two.has_mailbox(anna)

    # Each of them knows the wrong host only, which serves them as their own would.
    with connect.imap(two, anna) as imap:
        imap.select()
        with waiting(imap):
            connect.send(one, bert, anna)
            until(lambda: b"EXISTS" in imap.readline(), "anna to hear of the mail")
        assert imap.xatom("SETMETADATA", "INBOX", f'(/private/devicetoken "{TOKEN}")')[0] == "OK"
    connect.send(one, bert, anna)
    assert gateway.next() == TOKEN
    connect.send(two, anna, bert)
    until(lambda: connect.messages(one, bert) == 1, "the answer")

    # An invitation of one host is good at the other; nobody comes without.
    with by_invitation(one, two):
        assert connect.refusal(two, f"uninvited1@{DOMAIN}")
        guest, password = one.invitation()
        connect.imap(two, guest, password).logout()
        assert two.has_mailbox(guest)

    # What her home says of her holds everywhere.
    one.chatmaild("accounts", "block", anna)
    assert "AUTHENTICATIONFAILED" in connect.refusal(two, anna)
    one.chatmaild("accounts", "unblock", anna)

    # She moves to the other host and back, with her mail and her phone.
    before = one.listing(anna)
    one.move(anna, two.site.name)
    assert two.listing(anna) == before and not one.has_mailbox(anna)
    connect.send(one, bert, anna)
    assert gateway.next() == TOKEN
    two.move(anna, one.site.name)
    assert len(one.listing(anna)) == 3 and not two.has_mailbox(anna)

    # The primary dies: everybody goes on, but newcomers wait until it is back.
    cluster.primary.kill()
    until(lambda: in_luck(lambda: connect.imap(two, anna).logout()), "the standby to answer", 120)
    connect.send(one, anna, bert)
    until(lambda: connect.messages(two, bert) == 2, "their mail", 120)
    newcomer = f"newcomer3@{DOMAIN}"
    assert "UNAVAILABLE" in connect.refusal(two, newcomer)
    cluster.primary.start()
    until(lambda: in_luck(lambda: connect.imap(two, newcomer).logout()), "the primary", 120)

    # A host dies: its people and their mail wait until it is back, and nobody else does.
    with cluster.without_power():
        assert "UNAVAILABLE" in connect.refusal(one, bert)
        connect.send(one, anna, bert)
        connect.send(one, anna, anna)
        until(lambda: connect.messages(one, anna) == 4, "mail at the host that is left")
        one.submit("alice", ORDINARY_USERS["alice"], "alice@left.example", ["bob@left.example"],
                   b"Subject: x\r\n\r\nordinary news of a lost host\r\n")
        one.spool("bob", "ordinary news of a lost host")
        until(lambda: bert in str(one.waiting()), "mail that waits")
    until(lambda: in_luck(lambda: connect.messages(one, bert) == 3), "mail that waited", 120)

    assert not one.people() & two.people(), "nobody has two homes"
    assert one.reconcile() == two.reconcile() == {}


@contextlib.contextmanager
def waiting(imap):
    """In IDLE."""
    imap.send(b"i1 IDLE\r\n")
    until(lambda: imap.readline().startswith(b"+"), "IDLE")
    yield
    imap.send(b"DONE\r\n")
    until(lambda: imap.readline().startswith(b"i1 OK"), "the end of IDLE")


@contextlib.contextmanager
def by_invitation(*hosts):
    """Newcomers need one there."""
    for host in hosts:
        host.ask_for_invitations(True)
    try:
        yield
    finally:
        for host in hosts:
            host.ask_for_invitations(False)
