"""Deletion under a running Dovecot: clients see EXPUNGE, never an error."""

import itertools
import os
import time

import pytest
from rig.until import until

DAY = 86_400
PASSWORD = "a password of some length"
NUMBERS = itertools.count(1)


@pytest.fixture
def address(host):
    """A new account at each use."""
    address = f"aged{next(NUMBERS):05d}@{host.chat_domain}"
    host.imap(address, PASSWORD).logout()
    return address


def append(imap, count, folder="INBOX"):
    for number in range(count):
        text = f"From: a@b.example\r\nSubject: [...]\r\nMessage-ID: <{number}@x>\r\n\r\nbody\r\n"
        assert imap.append(folder, "", None, text.encode())[0] == "OK"


def files(host, address, folder="."):
    home = host.mailbox(address) / folder
    return sorted([*(home / "cur").iterdir(), *(home / "new").iterdir()])


def make_old(path, days=21):
    """As if Dovecot had saved it `days` ago."""
    stamp, rest = path.name.split(".", 1)
    aged = path.with_name(f"{int(stamp) - days * DAY}.{rest}")
    os.rename(path, aged)
    return aged


def idle(imap):
    """Begin to wait for news."""
    imap.send(b"i1 IDLE\r\n")
    assert imap.readline().startswith(b"+ ")


def read_until(imap, wanted):
    """Lines of the server up to the first that is `wanted`."""
    imap.sock.settimeout(90)
    lines = [imap.readline()]
    while not wanted(lines[-1]):
        assert lines[-1].startswith(b"* ") and b"BYE" not in lines[-1], lines
        lines.append(imap.readline())
    return lines


def errors(host, address):
    """What Dovecot logged of this user's sessions; those of other tests may end in trouble now."""
    return [line for log in host.logs().values() for line in log.splitlines()
            if ("Error: " in line or "Panic: " in line) and address in line]


def test_an_idling_client_sees_expunge_and_no_error(host, address):
    imap = host.imap(address, PASSWORD)
    append(imap, 3)
    imap.logout()
    make_old(files(host, address)[1])
    imap = host.imap(address, PASSWORD)
    assert imap.select("INBOX")[1] == [b"3"]
    idle(imap)
    host.chatmaild("expire", user="_chatmaild")
    assert len(files(host, address)) == 2
    read_until(imap, lambda line: line.endswith(b" EXPUNGE\r\n"))
    imap.send(b"DONE\r\n")
    assert read_until(imap, lambda line: line.startswith(b"i1 "))[-1].startswith(b"i1 OK")
    status, found = imap.fetch("1:*", "(BODY[])")
    assert status == "OK" and len([each for each in found if isinstance(each, tuple)]) == 2
    imap.logout()
    assert errors(host, address) == []


def test_a_client_that_asks_for_what_just_went_is_told_kindly(host, address):
    imap = host.imap(address, PASSWORD)
    append(imap, 2)
    imap.logout()
    make_old(files(host, address)[0])
    imap = host.imap(address, PASSWORD)
    imap.select("INBOX")
    host.chatmaild("expire", user="_chatmaild")
    status, _ = imap.fetch("1:2", "(BODY[])")
    assert status in ("OK", "NO")
    assert imap.noop()[0] == "OK"
    assert imap.search(None, "ALL")[0] == "OK"
    assert imap.select("INBOX")[1] == [b"1"]
    imap.logout()


def test_folders_and_copies_are_dealt_with_as_dovecot_makes_them(host, address):
    imap = host.imap(address, PASSWORD)
    for folder in ("Entw&APw-rfe", "A.B"):
        host.create_folder(imap, address, folder)
    append(imap, 2)
    imap.select("INBOX")
    for folder in ("Entw&APw-rfe", "A.B"):
        assert imap.copy("1", folder)[0] == "OK"
    imap.logout()
    for folder in (".", ".Entw&APw-rfe", ".A.B"):
        make_old(files(host, address, folder)[0])
    dry = host.chatmaild("expire", "--dry-run").stdout
    assert dry.count(f"\nold {host.mailbox(address)}/") + dry.startswith("old /") == 3
    host.chatmaild("expire")        # by root, who becomes the owner of the mailboxes
    imap = host.imap(address, PASSWORD)
    assert imap.select("INBOX")[1] == [b"1"]
    assert imap.select("A.B")[1] == [b"0"]
    assert imap.select("Entw&APw-rfe")[1] == [b"0"]
    imap.logout()


def test_deliveries_and_flags_during_a_run_lose_nothing(host, address):
    """A message whose file is renamed under the run's hands, by a flag, still goes or stays."""
    imap = host.imap(address, PASSWORD)
    append(imap, 40)
    imap.logout()
    for path in files(host, address)[:20]:
        make_old(path)
    imap = host.imap(address, PASSWORD)
    imap.select("INBOX")
    for number in range(1, 41):
        if number % 10 == 0:
            host.chatmaild("expire", user="_chatmaild")
        imap.store(str(number), "+FLAGS", r"(\Seen)")
    host.chatmaild("expire", user="_chatmaild")
    assert imap.select("INBOX")[1] == [b"20"]
    imap.logout()


def test_an_account_that_went_is_made_anew_by_the_next_login(host, address):
    other = f"idle{next(NUMBERS):05d}@{host.chat_domain}"
    imap = host.imap(other, PASSWORD)
    append(imap, 1)
    imap.logout()
    past = time.time() - 100 * DAY
    with host.without("lastlogin"):     # which may not have noted the login yet
        os.utime(host.mailbox(other) / "password", (past, past))
    host.chatmaild("expire", user="_chatmaild")
    assert not host.mailbox(other).exists() and host.mailbox(address).exists()
    imap = host.imap(other, "another password")
    assert imap.select("INBOX")[1] == [b"0"]
    imap.logout()


def test_report_knows_of_the_run(host, address):
    host.chatmaild("expire", user="_chatmaild")
    said = host.chatmaild("report").stdout
    assert host.chat_domain in said and "OVERDUE" not in said
    assert " s ago" in said.rpartition("without a problem: ")[2]


def test_dovecot_has_room_made_when_a_mailbox_fills_up(host, address):
    ini = host.ini.read_text()
    try:
        host.configure(ini.replace("[chatmaild]\n", "[chatmaild]\nmax_mailbox_size = 10M\n", 1))
        host.restart_dovecot()
        imap = host.imap(address, PASSWORD)
        body = "From: a@b.example\r\nSubject: [...]\r\n\r\n" + "x" * 760_000
        for _ in range(10):
            assert imap.append("INBOX", "", None, body.encode())[0] == "OK"
        imap.logout()
        old = [make_old(path, days=2) for path in files(host, address)]
        imap = host.imap(address, PASSWORD)
        imap.select("INBOX")
        for _ in range(2):
            assert imap.append("INBOX", "", None, body.encode())[0] == "OK"
        until(lambda: len(files(host, address)) == 9, "the oldest to be deleted")
        assert not any(path.exists() for path in old[:3])
        imap.logout()
    finally:
        host.configure(ini)
        host.restart_dovecot()


def test_nobody_is_removed_under_their_own_connection(host, address):
    """A client may have logged in months ago and be connected still, idle or not."""
    gone, other = host.new_person(), host.new_person()
    os.utime(host.mailbox(address) / "password", (time.time() - 100 * DAY,) * 2)
    os.utime(host.mailbox(other) / "password", (time.time() - DAY,) * 2)    # logins are recorded
    connected = host.imap(address, PASSWORD)
    until(lambda: (host.mailbox(address) / "password").stat().st_mtime > time.time() - 2 * DAY,
          "the login is recorded")
    for user in (address, gone):        # whose logins were before
        os.utime(host.mailbox(user) / "password", (time.time() - 100 * DAY,) * 2)
    idle(connected)
    host.chatmaild("lastlogin", "--connected")
    host.chatmaild("expire", user="_chatmaild")
    assert host.mailbox(address).exists() and not host.mailbox(gone).exists()
    connected.send(b"DONE\r\n")
    assert read_until(connected, lambda line: line.startswith(b"i1 "))[-1].startswith(b"i1 OK")
    connected.logout()


def test_dovecot_makes_an_overgrown_index_anew(host, address):
    """UIDs and flags stay."""
    with host.imap(address, PASSWORD) as imap:
        append(imap, 3)
        imap.select()
        imap.store("2", "+FLAGS", "(\\Flagged word)")
        imap.uid("STORE", "1", "+FLAGS", "\\Deleted")
        imap.expunge()
        validity = imap.status("INBOX", "(UIDVALIDITY UIDNEXT)")
    home = host.mailbox(address)
    with open(home / "dovecot.index", "ab") as index:
        index.truncate(9 << 20)
    host.chatmaild("expire", user="_chatmaild")
    assert not list(home.glob("dovecot.index*"))
    with host.imap(address, PASSWORD) as imap:
        imap.select()
        assert imap.status("INBOX", "(UIDVALIDITY UIDNEXT)") == validity
        shown = imap.fetch("1:*", "(UID FLAGS)")[1]
        assert shown == [b"1 (UID 2 FLAGS (\\Flagged word))", b"2 (UID 3 FLAGS ())"]


def test_an_empty_folder_goes_and_can_be_made_anew(host, address):
    imap = host.imap(address, PASSWORD)
    for folder in ("Old", "Old.Below", "New"):
        host.create_folder(imap, address, folder)
    home = host.mailbox(address)
    for folder in (".Old", ".Old.Below"):
        for path in (*(home / folder).iterdir(), home / folder):
            os.utime(path, (time.time() - 21 * DAY,) * 2)
    assert imap.select("New")[0] == "OK"
    host.chatmaild("expire", user="_chatmaild")
    append(imap, 1, "New")      # the session goes on, though it may still list what is gone
    assert imap.select("Old")[0] == "NO" and imap.select("New")[1] == [b"1"]
    imap.logout()
    imap = host.imap(address, PASSWORD)
    listed = b" ".join(imap.list()[1])
    assert b"New" in listed and b"Old" not in listed
    host.create_folder(imap, address, "Old")
    append(imap, 1, "Old")
    assert imap.select("Old")[1] == [b"1"]
    imap.logout()
    assert errors(host, address) == []
