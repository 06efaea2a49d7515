"""One chat domain on Debian 12 and 13: what people see, whichever host they connect to."""

import concurrent.futures
import contextlib
import imaplib
import itertools
import smtplib
import socket
import threading

import chatmessages
import pytest
from cluster import packetfilter
from cluster.clients import DOMAIN, STRANGER, in_luck
from cluster.cluster import Cluster
from rig.stock import ORDINARY_USERS
from rig.until import until


def test_an_account_that_was_made_at_one_host_is_used_through_both(cluster, connect):
    anna = connect.person(cluster.left)
    assert cluster.left.has_mailbox(anna) and not cluster.right.has_mailbox(anna)
    with connect.imap(cluster.right, anna) as imap:
        assert imap.select()[0] == "OK"
        assert imap.xatom("GETMETADATA", '""', "/shared/vendor/deltachat/irohrelay")[0] == "OK"
        imap.send(b"i1 IDLE\r\n")
        assert imap.readline().startswith(b"+")
        imap.send(b"DONE\r\n")
        until(lambda: imap.readline().startswith(b"i1 OK"), "the end of IDLE")
    assert not cluster.right.has_mailbox(anna)


def test_a_wrong_password_is_refused_through_the_wrong_host(cluster, connect):
    """Above all over SMTP: Postfix would let in whoever Dovecot only wants to pass on."""
    for home, other in ((cluster.left, cluster.right), (cluster.right, cluster.left)):
        person = connect.person(home)
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            connect.smtp(other, person, "not the password", STRANGER)
        assert caught.value.smtp_code == 535
        assert "AUTHENTICATIONFAILED" in connect.refusal(other, person, "not the password")
        connect.smtp(other, person).quit()


def test_mail_finds_its_home_from_everywhere(cluster, connect):
    anna, bert = connect.person(cluster.left), connect.person(cluster.right)
    for host, sender, recipient in (
            (cluster.left, anna, bert), (cluster.right, anna, bert),
            (cluster.left, bert, anna), (cluster.right, bert, anna)):
        connect.send(host, sender, recipient)
    for host, person in itertools.product((cluster.left, cluster.right), (anna, bert)):
        until(lambda: connect.messages(host, person) == 2, f"the mail of {person}", 120)
    assert not cluster.right.has_mailbox(anna) and not cluster.left.has_mailbox(bert)


def test_nobody_is_unknown_where_they_do_not_live(cluster, connect):
    anna = connect.person(cluster.left)
    with smtplib.SMTP(cluster.right.site.name, 25, timeout=60) as smtp:
        smtp.ehlo("stranger.example.net")
        smtp.mail("stranger@phones.example")
        assert smtp.rcpt(anna)[0] == 250
        assert smtp.rcpt(f"nobody123@{DOMAIN}")[0] == 550


def test_who_is_blocked_at_home_is_blocked_everywhere(cluster, connect):
    anna = connect.person(cluster.left)
    cluster.left.chatmaild("accounts", "block", anna)
    for host in (cluster.left, cluster.right):
        assert "AUTHENTICATIONFAILED" in connect.refusal(host, anna)
    cluster.left.chatmaild("accounts", "unblock", anna)
    connect.imap(cluster.right, anna).logout()


def test_a_deleted_address_is_free_for_either_host(cluster, connect):
    anna = connect.person(cluster.left)
    cluster.left.chatmaild("accounts", "delete", "--yes", anna)
    connect.imap(cluster.right, anna, "another password").logout()
    assert cluster.right.has_mailbox(anna) and not cluster.left.has_mailbox(anna)


def test_an_account_moves_between_the_releases_with_its_mail(cluster, connect):
    anna, bert = connect.person(cluster.left), connect.person(cluster.right)
    for _ in range(2):
        connect.send(cluster.left, bert, anna)
    until(lambda: connect.messages(cluster.left, anna) == 2, "the mail", 120)
    with connect.imap(cluster.left, anna) as imap:
        imap.select()
        imap.store("1", "+FLAGS", r"\Seen")
        validity = imap.status("INBOX", "(UIDVALIDITY UIDNEXT)")
    before = cluster.left.listing(anna)
    idling = connect.imap(cluster.left, anna)
    cluster.left.move(anna, cluster.right.site.name)
    assert cluster.right.has_mailbox(anna) and not cluster.left.has_mailbox(anna)
    assert cluster.right.listing(anna) == before
    with pytest.raises((imaplib.IMAP4.abort, OSError)):     # it has to connect anew
        idling.noop(), idling.noop()
    with connect.imap(cluster.left, anna) as imap:
        assert imap.status("INBOX", "(UIDVALIDITY UIDNEXT)") == validity
    connect.send(cluster.left, bert, anna)
    until(lambda: connect.messages(cluster.left, anna) == 3, "mail at the new home", 120)
    cluster.right.move(anna, cluster.left.site.name)
    assert connect.messages(cluster.right, anna) == 3 and cluster.left.has_mailbox(anna)


def test_mail_and_logins_during_moves(cluster, connect):
    """Whoever cannot be served meanwhile comes back; nothing is lost, nothing arrives twice."""
    anna, bert = connect.person(cluster.left), connect.person(cluster.right)
    sent, moved = [], threading.Event()

    def talk():
        for host in itertools.cycle((cluster.left, cluster.right)):
            if moved.is_set():
                return
            connect.send(host, bert, anna)
            sent.append(host)
            in_luck(lambda: connect.imap(host, anna).logout())

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        talking = pool.submit(talk)
        try:
            cluster.left.move(anna, cluster.right.site.name)
            cluster.right.move(anna, cluster.left.site.name)
        finally:
            moved.set()
        talking.result()
    until(lambda: len(cluster.left.listing(anna)) >= len(sent), "all mail")
    assert len(cluster.left.listing(anna)) == len(sent) > 1
    assert not cluster.right.has_mailbox(anna)


def test_two_moves_of_one_account_at_once(cluster, connect):
    anna = connect.person(cluster.left)
    connect.send(cluster.left, anna, anna)
    until(lambda: connect.messages(cluster.left, anna) == 1, "the mail")
    before = cluster.left.listing(anna)
    assert cluster.left.move_twice(anna, cluster.right.site.name)
    assert cluster.right.listing(anna) == before and not cluster.left.has_mailbox(anna)
    assert connect.messages(cluster.left, anna) == 1


def test_a_delivery_under_way_while_its_account_moves_is_not_lost(cluster, connect):
    """Dovecot has looked up where the mailbox is, and the message is still on its way."""
    for old, new in ((cluster.left, cluster.right), (cluster.right, cluster.left)):
        anna = connect.person(old)
        with contextlib.closing(smtplib.LMTP(timeout=120)) as lmtp:
            lmtp.connect(old.site.address, 24)
            lmtp.ehlo("left.example")
            lmtp.mail(anna)
            assert lmtp.rcpt(anna)[0] == 250
            old.move(anna, new.site.name)
            code, words = lmtp.data(chatmessages.encrypted(anna, anna, "late"))
        assert 400 <= code < 500, words


def test_no_password_goes_to_a_host_whose_certificate_does_not_hold(cluster, connect):
    hosts = cluster.left, cluster.right
    people = [connect.person(host) for host in reversed(hosts)]
    for host, person in zip(hosts, people):
        with host_trusts_others(host):
            until(lambda: "UNAVAILABLE" in connect.refusal(host, person), "it to be doubted")
        until(lambda: not connect.refusal(host, person), "it to be trusted again")


@contextlib.contextmanager
def host_trusts_others(host):
    """Its Dovecot believes authorities who did not sign the certificates of the other hosts."""
    host.trust_in_dovecot("/etc/ssl/certs/ca-certificates.crt")
    try:
        yield
    finally:
        host.trust_in_dovecot()


@pytest.mark.parametrize("fault", [Cluster.frozen, Cluster.unplugged],
                         ids=lambda fault: fault.__name__)
def test_a_host_that_is_not_there_holds_up_only_its_own(cluster, connect, fault):
    anna, bert = connect.person(cluster.left), connect.person(cluster.right)
    with fault(cluster):
        assert "UNAVAILABLE" in connect.refusal(cluster.left, bert)
        connect.imap(cluster.left, anna).logout()
        connect.send(cluster.left, anna, bert)
        connect.send(cluster.left, anna, anna)
        until(lambda: connect.messages(cluster.left, anna) == 1, "mail at the home that works")
        words = f"news of {fault.__name__}"
        cluster.left.submit("alice", ORDINARY_USERS["alice"], "alice@left.example",
                            ["bob@left.example"], f"Subject: x\r\n\r\n{words}\r\n".encode())
        cluster.left.spool("bob", words)
        until(lambda: bert in str(cluster.left.waiting()), "mail that waits")
    until(lambda: in_luck(lambda: connect.messages(cluster.left, bert) == 1), "mail that waited")


def test_mail_waits_while_a_certificate_does_not_hold(cluster, connect):
    anna, bert = connect.person(cluster.left), connect.person(cluster.right)
    cluster.left.trust_in_postfix("/etc/ssl/certs/ca-certificates.crt")
    try:
        connect.send(cluster.left, anna, bert)
        until(lambda: "Server certificate not verified" in str(cluster.left.waiting()), "the fault")
        assert connect.messages(cluster.right, bert) == 0
    finally:
        cluster.left.trust_in_postfix()
    until(lambda: connect.messages(cluster.right, bert) == 1, "the mail that waited")


def test_check_tells_of_a_host_that_it_cannot_trust(cluster):
    assert cluster.left.findings("directory-peer", "/etc/ssl/certs/ca-certificates.crt") != []
    assert cluster.left.findings("directory-peer") == []


@pytest.mark.parametrize("authorities", ["/etc/ssl/certs/ca-certificates.crt", "/etc/no-such-file"])
def test_a_database_whose_certificate_does_not_hold_is_not_spoken_to(cluster, authorities):
    words = cluster.left.status_by(authorities)
    assert "certificate" in words and f"; {authorities}, which sslrootcert" in words


def test_a_directory_that_hangs_holds_up_only_mail_for_elsewhere(cluster, connect):
    """Postfix resolves one address after the other: who waits there has everybody wait."""
    left = cluster.left
    anna, carl, bert = (connect.person(host) for host in (left, left, cluster.right))
    words = [f"ordinary news, number {number:02}" for number in range(20)]
    with cluster.unplugged():
        connect.send(left, anna, bert)
        until(lambda: bert in str(left.waiting()), "mail that is tried again and again")
        with cluster.silent_directory():
            until(lambda: left.try_again() or "(the directory, which knows the host of the account"
                  in left.logs()["mail.log"], "mail that is put off", 120, pause=1)
            left.submit_all("alice", ORDINARY_USERS["alice"], "alice@left.example",
                            ["bob@left.example"],
                            [f"Subject: x\r\n\r\n{each}\r\n".encode() for each in words])
            connect.send(left, anna, carl)
            for each in words:
                left.spool("bob", each)
            until(lambda: connect.messages(left, carl) == 1, "mail at home")
            until(lambda: bert in str(left.waiting()), "mail that waits")
    until(lambda: left.try_again() or in_luck(lambda: connect.messages(left, bert) == 1),
          "mail that waited", 120, pause=1)


def test_strangers_do_not_reach_the_port_for_other_hosts(cluster, connect):
    """By the rule that several-hosts.md gives; who reaches it passes by the filter."""
    host = cluster.of_the_machines_release
    other, = {cluster.left, cluster.right} - {host}

    def reached(source):
        with contextlib.suppress(OSError), socket.create_connection(
                (host.site.address, 24), 3, (source, 0)) as connection:
            return connection.recv(4) == b"220 "
        return False

    until(lambda: reached(STRANGER), "the port to be reached")
    assert "whoever reaches it passes by the filter" in str(host.findings("directory-lmtp"))
    host.filter_packets(packetfilter.rules([cluster.left.site.address, cluster.right.site.address]))
    try:
        assert not reached(STRANGER) and not host.findings("directory")
        assert "a rule of the packet filter closes it" in host.checked("service lmtp, port 24")
        anna, bert = connect.person(host), connect.person(other)
        connect.send(other, bert, anna)
        until(lambda: connect.messages(host, anna) == 1, "mail by way of that port")
    finally:
        host.filter_packets("flush ruleset")
    until(lambda: reached(STRANGER), "the port to be reached again")


def test_a_database_that_hangs_holds_up_no_login_at_home(cluster, connect):
    anna = connect.person(cluster.left)
    with cluster.primary.hanging():
        connect.imap(cluster.left, anna).logout()
        assert "UNAVAILABLE" in connect.refusal(cluster.left, f"newcomer2@{DOMAIN}")
