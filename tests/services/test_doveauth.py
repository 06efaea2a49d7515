"""doveauth over its socket, as the Lua file uses it, a native client, and nobody we know."""

import json
import logging
import os
import threading
import time
from types import SimpleNamespace

import pytest
from dictclient import DictClient, Running

from chatmaild.accounts import passwordhash
from chatmaild.accounts.invites import Invites
from chatmaild.accounts.layout import DAY
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.errors import ChatmaildError
from chatmaild.services import doveauth, lastlogin

ADDRESS = "somebody1@chat.example"
PASSWORD = b"a good password"
NO_LIMITS = ("max_load_1m = 9999", "min_available_memory = 0", "min_free_disk_space = 0",
             "min_free_inodes = 0")


class Doveauth:
    """The service on a store of its own; `configure` is a reload."""

    def __init__(self, directory):
        self.directory = directory
        self.socket = directory / "doveauth.sock"
        self.mail = directory / "mail"
        self.running = None

    def config(self, extra="", domains="chat.example other.example"):
        """`extra` lines, and for the rest a host that is never too busy."""
        lines = ["[chatmaild]", f"mail_domains = {domains}", f"mailboxes_dir = {self.mail}",
                 *(line for line in NO_LIMITS if line.split()[0] not in extra), extra]
        return inifile.parse("\n".join(lines).encode(), self.directory / "chatmaild.ini")

    def service(self):
        service = doveauth.DoveAuth()
        service.configure(self.config())
        return service

    def configure(self, extra="", **others):
        config = self.config(extra, **others)
        done = threading.Event()
        self.running.call(lambda: (self.running.service.configure(config), done.set()))
        assert done.wait(60)

    def home(self, address=ADDRESS):
        return self.mail / address.partition("@")[2] / address

    def client(self):
        return DictClient(self.socket)


def quoted(text):
    for character in (b"\\", b'"', b"'"):
        text = text.replace(character, b"\\" + character)
    return text


def escaped(text):
    for plain, letter in zip(b"\1\0\t\r\n", b"10trn"):
        text = text.replace(bytes([plain]), bytes([1, letter]))
    return text


def passdb(address=ADDRESS, password=PASSWORD):
    user = address.encode("utf-8", "surrogateescape")
    key = b"shared/passdb/" + quoted(password) + b'"' + quoted(user)
    return b"L" + escaped(key) + b"\t" + escaped(user)


def parsed(answer):
    assert answer[:1] == b"O" and answer[-1:] == b"\n", answer
    return json.loads(answer[1:])


@pytest.fixture
def service(tmp_path):
    service = Doveauth(tmp_path)
    with Running(service.service, service.socket) as service.running:
        yield service


@pytest.fixture
def client(service):
    with service.client() as client:
        yield client


def test_the_first_login_creates_and_the_next_ones_find(service, client):
    made = parsed(client.ask(passdb()))
    assert made["user"] == ADDRESS and made["password"].startswith("{SHA512-CRYPT}$6$")
    assert set(made) == {"user", "password"}
    assert parsed(client.ask(passdb(password=b"wrong"))) == made
    assert parsed(client.ask(passdb(password=b""))) == made
    assert parsed(client.ask(b'Lshared/passdb/x"' + ADDRESS.encode())) == made, "no user field"
    assert (service.home() / "password").read_text() == made["password"] + "\n"
    assert sorted(os.listdir(service.home())) == ["enforceE2EEincoming", "password"]


def test_a_reload_while_the_disk_is_not_there_makes_nobody_unknown(service, client):
    client.ask(passdb())
    service.mail.joinpath("chat.example").rename(service.directory / "unmounted")
    service.configure()
    assert client.ask(b"Lshared/userdb/" + ADDRESS.encode())[:1] == b"F"
    assert client.ask(passdb(password=b"a stranger's"))[:1] == b"F"
    service.configure(domains="chat.example other.example third.example")
    assert sorted(os.listdir(service.mail)) == ["other.example", "third.example"]


def test_the_hash_is_read_from_disk_each_time(service, client):
    client.ask(passdb())
    (service.home() / "password").write_text("{ARGON2ID}$argon2id$other\n")
    assert parsed(client.ask(passdb()))["password"] == "{ARGON2ID}$argon2id$other"


def test_userdb_never_creates(service, client):
    line = b"Lshared/userdb/" + ADDRESS.encode() + b"\t" + ADDRESS.encode()
    assert client.ask(line) == b"N\n" and not service.home().exists()
    client.ask(passdb())
    assert parsed(client.ask(line)) == {"home": str(service.home()), "uid": "_chatmaild",
                                        "gid": "_chatmaild"}


def test_iterating_lists_accounts_only(service, client):
    addresses = [f"account{n:02}@{domain}" for n in range(30)
                 for domain in ("chat.example", "other.example")]
    for address in addresses:
        parsed(client.ask(passdb(address)))
    (service.mail / "chat.example" / "leftover1@chat.example").mkdir()
    client.send(b"I0\t0\tshared/userdb/\t*\nI0\t0\tshared/other/\n")
    rows = [client.line() for _ in range(60)]
    assert sorted(rows) == sorted(b"Oshared/userdb/%s\t\n" % a.encode() for a in addresses)
    assert client.line() == b"\n" and client.line() == b"\n"


@pytest.mark.parametrize("line", [
    passdb("somebody1@elsewhere.example"), passdb("somebody1"), passdb("@chat.example"),
    passdb("../../../x@chat.example"), passdb(".........@chat.example"), passdb(""),
    passdb("a\tb\nc\0def@chat.example"), passdb("abcd/fghi@chat.example"),
    passdb("x" * 3000 + "@chat.example"), passdb("\udcff\udcfecdefghi@chat.example"),
    passdb("abcdéfghi@chat.example"), passdb(password=b"short"), passdb(password=b""),
    passdb(password=b"x" * 512), passdb(password=b"tab\tin the middle"),
    passdb(password=b"nul\0in the middle"), passdb(password=b"one\1in the middle"),
    passdb("postmaster@chat.example"), b"Lshared/passdb/no quote", b'Lshared/passdb/"',
    b'Lshared/passdb/a good password"somebody1@chat.example\tsomebody2@chat.example',
    b"Lshared/passdb/a good password\"somebody1@chat.example\\", b"Lshared/else/x", b"Lpriv/x",
    b"Lshared/userdb/somebody1@chat.example/..", b"Lshared/userdb/",
])
def test_what_makes_no_account(service, client, line, caplog):
    with caplog.at_level(logging.DEBUG):
        assert client.ask(line) == b"N\n"
    assert os.listdir(service.mail / "chat.example") == []
    assert "good password" not in caplog.text


@pytest.mark.parametrize("password", [
    b"\xff\xfe\xe9 no text", b"with \"quotes\" and 'others'", b"back\\slash\\", b"%u%w %{sha}",
    "schöne Grüße".encode(), b" " * 9, b"x" * 511, b"$6$salt$hash", b"{PLAIN}password",
])
def test_odd_passwords_are_bytes(client, password):
    parsed(client.ask(passdb(password=password)))


def test_names_come_in_any_case(service, client):
    assert parsed(client.ask(passdb("SomeBody1@Chat.Example")))["user"] == ADDRESS
    assert os.listdir(service.mail / "chat.example") == [ADDRESS]


def test_a_blocked_account(service, client):
    client.ask(passdb())
    (service.home() / "blocked").touch()
    assert client.ask(passdb()) == b"N\n"
    assert client.ask(b"Lshared/userdb/" + ADDRESS.encode()) == b"N\n"


def test_length_rules_hold_at_creation_only(service, client):
    client.ask(passdb())
    service.configure("username_min_length = 12\nusername_max_length = 20\nsignup = closed")
    parsed(client.ask(passdb()))
    assert client.ask(passdb("somebody2@chat.example")) == b"N\n"


def test_each_domain_has_its_rules(service, client):
    service.configure("[domain other.example]\nusername_max_length = 12\nsignup = closed")
    assert client.ask(passdb("a-long-name@chat.example")) == b"N\n"
    assert client.ask(passdb("a-long-name@other.example")) == b"N\n"
    service.configure("[domain other.example]\nusername_max_length = 12")
    parsed(client.ask(passdb("a-long-name@other.example")))
    assert client.ask(passdb("a-long-name@chat.example")) == b"N\n"


def test_the_switch_file(service, client, caplog):
    client.ask(passdb())
    (service.directory / "nocreate").touch()
    with caplog.at_level(logging.INFO):
        assert client.ask(passdb("somebody2@chat.example")) == b"N\n"
    assert "reason=nocreate" in caplog.text and "somebody2" not in caplog.text
    parsed(client.ask(passdb()))
    (service.directory / "nocreate").unlink()
    parsed(client.ask(passdb("somebody2@chat.example")))


@pytest.mark.parametrize("extra, reason, answer", [
    ("max_load_1m = 0.9", "load", b"F"), ("min_available_memory = 999T", "memory", b"F"),
    ("min_free_disk_space = 999T", "disk", b"F"),
    (f"min_free_inodes = {1 << 40}", "inodes", b"F"), ("signup = invite", "no-invite", b"N"),
])
def test_refusals_name_their_reason(service, client, caplog, extra, reason, answer, monkeypatch):
    """And a host without room tells the client to try later."""
    monkeypatch.setattr(os, "getloadavg", lambda: (os.cpu_count() * 1.0, 0, 0))
    client.ask(passdb())
    service.configure(extra)
    with caplog.at_level(logging.INFO):
        assert client.ask(passdb("somebody2@chat.example"))[:1] == answer
        parsed(client.ask(passdb()))
    assert f"reason={reason} " in caplog.text


def test_an_address_that_was_just_given_up_is_not_free_yet(service, client, caplog):
    """Its former owner may be connected still. Who waits for it is not limited for that."""
    service.configure("max_client_signups_per_hour = 2")
    box = Mailboxes(service.config()).find(ADDRESS)
    client.send(b"H3\t2\t0\t192.0.2.1\tauth\n")
    parsed(client.ask(passdb()))
    box.delete()
    with caplog.at_level(logging.INFO):
        assert [client.ask(passdb(password=b"the next owner"))[:1] for _ in range(5)] == [b"F"] * 5
    assert "reason=ending " in caplog.text and not box.exists()
    box.settle()
    parsed(client.ask(passdb(password=b"the next owner")))


@pytest.mark.parametrize("processors, answer", [(1, b"F"), (4, b"O")])
def test_the_load_counts_by_processor(service, client, monkeypatch, processors, answer):
    client.ask(passdb())
    service.configure("max_load_1m = 2")
    monkeypatch.setattr(os, "getloadavg", lambda: (6.0, 0, 0))
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert client.ask(passdb("somebody2@chat.example"))[:1] == answer


def test_limits_per_client_and_host(service, client, caplog):
    service.configure("max_client_signups_per_hour = 2\nmax_signups_per_hour = 3")
    hello = b"H3\t2\t0\t%s\tauth\n"

    def signups(network, count, start):
        client.send(hello % network)
        return [client.ask(passdb(f"limit{n:04}@chat.example"))[:1]
                for n in range(start, start + count)]

    with caplog.at_level(logging.INFO):
        assert signups(b"192.0.2.1", 3, 0) == [b"O", b"O", b"N"]
        assert signups(b"192.0.2.99", 1, 10) == [b"N"]
        assert signups(b"203.0.113.1", 2, 20) == [b"O", b"N"]
    assert "reason=client-limit" in caplog.text and "reason=host-limit" in caplog.text
    assert "192.0.2" not in caplog.text
    assert signups(b"127.0.0.1", 5, 30) == [b"O"] * 5
    client.send(hello % b"192.0.2.1")
    parsed(client.ask(passdb("limit0000@chat.example")))


def test_signup_by_invitation(service, client):
    service.configure("signup = invite\nmax_client_signups_per_hour = 3")
    config = service.config()
    _, [first, second] = Invites(Mailboxes(config)).create(
        config.domains["chat.example"], 2, 7, time.time())
    assert client.ask(passdb(first.address, b"no token, but long enough")) == b"N\n"
    parsed(client.ask(passdb(first.address, first.password.encode())))
    parsed(client.ask(passdb(first.address, first.password.encode())))
    assert client.ask(passdb("somebody2@chat.example", first.password.encode())) == b"N\n", "spent"
    assert client.ask(passdb("somebody2@other.example", second.password.encode())) == b"N\n"
    client.send(b"H3\t2\t0\t192.0.2.1\tauth\n")
    for _ in range(3):
        assert client.ask(passdb(second.address, b"guess after guess after guess")) == b"N\n"
    assert client.ask(passdb(second.address, second.password.encode())) == b"N\n"
    client.send(b"H3\t2\t0\t192.0.9.1\tauth\n")
    parsed(client.ask(passdb(second.address, second.password.encode())))


def test_a_hundred_clients_race_for_one_address(service):
    clients = [service.client() for _ in range(100)]
    for number, client in enumerate(clients):
        client.send(passdb(password=b"password of client %d" % (number % 2)) + b"\n")
    answers = {client.line() for client in clients}
    assert len(answers) == 1
    assert parsed(answers.pop())["password"] + "\n" == (service.home() / "password").read_text()
    for client in clients:
        client.socket.close()


@pytest.fixture
def hashing(monkeypatch):
    """Passwords are hashed once `go` is set, or not at all if `broken`; `begun` counts them."""
    hash_password = passwordhash.hash_password
    hashing = SimpleNamespace(go=threading.Event(), begun=threading.Semaphore(0), broken=False)

    def slowly(password):
        hashing.begun.release()
        assert hashing.go.wait(60)
        if hashing.broken:
            raise ChatmaildError("libcrypt made no SHA-512 hash")
        return hash_password(password)

    monkeypatch.setattr(passwordhash, "hash_password", slowly)
    return hashing


@pytest.mark.parametrize("act, answer, left", [
    (lambda box: box.create("{PLAIN}other", 0), b"O", ["enforceE2EEincoming", "password"]),
    (lambda box: box.block(), b"N", ["blocked"]),
    (lambda box: box.delete(block=True), b"N", ["blocked"]),
], ids=["create", "block", "delete --block"])
def test_an_admin_who_comes_while_a_password_is_hashed_wins(
        service, client, hashing, act, answer, left):
    box = Mailboxes(service.config()).find(ADDRESS)
    client.send(passdb() + b"\n")
    assert hashing.begun.acquire(timeout=60)
    act(box)
    hashing.go.set()
    said = client.line()
    assert said[:1] == answer and sorted(os.listdir(service.home())) == left
    assert answer == b"N" or parsed(said)["password"] == "{PLAIN}other"


def test_an_invitation_outlives_a_hash_that_fails_and_no_revocation(service, client, hashing):
    service.configure("signup = invite")
    invites = Invites(Mailboxes(service.config()))
    batch, [invitation] = invites.create(service.config().domains["chat.example"], 1, 7,
                                         time.time())
    request = passdb(invitation.address, invitation.password.encode())
    hashing.broken = True
    hashing.go.set()
    assert client.ask(request) == b"Ftemporary failure\n"
    assert [left.left for left in invites.batches("chat.example")] == [1]
    hashing.broken = False
    hashing.go.clear()
    assert hashing.begun.acquire(timeout=60)
    client.send(request + b"\n")
    assert hashing.begun.acquire(timeout=60)
    assert invites.revoke("chat.example", batch) == 1
    hashing.go.set()
    assert client.line() == b"N\n"
    assert os.listdir(service.mail / "chat.example") == [".invites"]


def test_stopping_and_reloading_while_a_password_is_hashed(service, client, hashing):
    racer = service.client()
    for each in (client, racer):
        each.ask(b"Lshared/userdb/nobody")      # it is accepted
        each.send(passdb() + b"\n")
    assert hashing.begun.acquire(timeout=60)
    with service.client() as later:     # who is answered after them, when they were read
        later.ask(b"Lshared/userdb/nobody")
    service.configure("signup = closed")
    service.running.begin_to_stop()
    hashing.go.set()
    hashed = parsed(client.line())["password"]
    assert parsed(racer.line())["password"] == hashed and client.line() == b""
    service.running.stop()
    assert (service.home() / "password").read_text() == hashed + "\n"
    racer.socket.close()


def test_one_refused_racer_does_not_keep_the_others_out(service):
    clients = [service.client() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(passdb(password=b"short" if number % 2 == 0 else PASSWORD) + b"\n")
    good = [client.line()[:1] for client in clients[1::2]]
    assert good == [b"O"] * 10
    for client in clients:
        client.socket.close()


def test_our_own_trouble_is_a_temporary_failure(service, client, caplog):
    client.ask(passdb())
    (service.home() / "password").write_text("")
    assert client.ask(passdb()) == b"Ftemporary failure\n"
    assert ADDRESS not in caplog.text and "password: holds no password hash" in caplog.text
    (service.mail / "chat.example").rename(service.mail / "away")
    assert client.ask(passdb("somebody2@chat.example")) == b"Ftemporary failure\n"
    (service.mail / "away").rename(service.mail / "chat.example")
    parsed(client.ask(passdb("somebody2@chat.example")))


def test_a_creation_that_fails_half_way_leaves_nothing(service, client, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert client.ask(passdb()) == b"Ftemporary failure\n"
    assert os.listdir(service.mail / "chat.example") == []
    parsed(client.ask(passdb()))


def test_reload_and_a_new_domain(service, client):
    assert not (service.mail / "third.example").exists()
    service.configure(domains="third.example")
    parsed(client.ask(passdb("somebody1@third.example")))
    assert client.ask(passdb("somebody1@chat.example")) == b"N\n"


# -- lastlogin ------------------------------------------------------------------------------------


@pytest.fixture
def login(service, client, tmp_path):
    """Commits a login and returns the day then known of `ADDRESS`."""
    client.ask(passdb())
    os.utime(service.home() / "password", (DAY, DAY))

    def make():
        made = lastlogin.LastLogin()
        made.configure(service.config())
        return made

    with Running(make, tmp_path / "lastlogin.sock"), \
            DictClient(tmp_path / "lastlogin.sock") as dict_client:

        def commit(value, user=ADDRESS.encode()):
            dict_client.send(b"H3\t2\t0\t\tlastlogin\nB1\t%s\nS1\tshared/last-login/%s\t%s\n"
                             % (user, user, value))
            answer = dict_client.ask(b"C1")
            return answer, (service.home() / "password").stat().st_mtime

        yield commit


def test_a_login_is_remembered_to_the_day(login):
    assert login(b"%d" % (15 * DAY + 4711)) == (b"O\n", 15 * DAY)
    assert login(b"%d" % (14 * DAY)) == (b"O\n", 15 * DAY)
    answer, seen = login(b"9" * 20)
    assert answer == b"O\n" and abs(seen - time.time()) < 2 * DAY, "no later than today"


@pytest.mark.parametrize("value", [b"", b"-5", b"yesterday", b"1e9", b"1.5", b"\xff", b"9" * 21,
                                   "١٢٣".encode()])
def test_odd_values_are_no_login(login, value):
    assert login(value) == (b"O\n", DAY)


@pytest.mark.parametrize("user", [b"somebody2@chat.example", b"x@elsewhere.example", b"../..",
                                  b"\xff@chat.example", b""])
def test_a_login_creates_nothing(service, login, user):
    assert login(b"%d" % (15 * DAY), user) == (b"O\n", DAY)
    assert os.listdir(service.mail / "chat.example") == [ADDRESS]
