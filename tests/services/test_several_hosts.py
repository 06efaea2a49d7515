"""doveauth and recipients of two hosts with one directory, over their sockets."""

import contextlib
import itertools
import json
import os
import threading

import postgresql
import pytest
from dictclient import DictClient, Running
from rig.until import until

from chatmaild import cli
from chatmaild.accounts import departure, directory, directoryschema, sharedsettings
from chatmaild.accounts.directory import Directory
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.services import doveauth, recipients

ADDRESS = "somebody1@chat.example"
PASSWORD = "a good password"


class Host:
    """A disk of its own, and the two services that ask the directory."""

    def __init__(self, server, directory, node, stack, *standbys):
        directory.mkdir()
        self.connection = directory / "directory.conf"
        conninfo = server.conninfo("chatmaild", *standbys)
        self.connection.write_text(conninfo)
        self.text = ("[chatmaild]\nmail_domains = chat.example\nmax_load_1m = 9999\n"
                     "min_available_memory = 0\nmin_free_disk_space = 0\nmin_free_inodes = 0\n"
                     f"mailboxes_dir = {directory}/mail\nnode = {node}\n"
                     f"directory = {self.connection}\n")
        self.config = config = inifile.parse(self.text.encode(), directory / "chatmaild.ini")
        self.mailboxes = Mailboxes(config)
        self.directory = Directory(conninfo, node, lines=1, patience=30)
        stack.callback(self.directory.close)
        self.clients, self.running = {}, []
        for name, service in (("doveauth", doveauth.DoveAuth),
                              ("recipients", recipients.RecipientService)):
            self.clients[name] = self._run(service, config, directory / f"{name}.sock", stack)

    def _run(self, service, config, path, stack):
        def made():
            running = service()
            running.configure(config)
            return running
        self.running.append(stack.enter_context(Running(made, path)))
        return stack.enter_context(DictClient(path))

    def reload(self):
        for running in self.running:
            done = threading.Event()
            running.call(lambda: (running.service.configure(self.config), done.set()))
            assert done.wait(60)

    def reconcile(self, *options):
        """What `chatmaild directory reconcile` exits with."""
        self.config.path.write_text(self.text + "mail_user = root\n")
        return cli.main(["-c", str(self.config.path), "directory", "reconcile", *options])

    @property
    def nocreate(self):
        """The file that keeps newcomers out while it exists."""
        return self.config.path.parent / "nocreate"

    def login(self, password=PASSWORD, address=ADDRESS):
        """What doveauth knows then; its letter if it is not an account."""
        answer = self.clients["doveauth"].ask(
            f'Lshared/passdb/{password}"{address}'.encode())
        return json.loads(answer[1:]) if answer[:1] == b"O" else answer[:1]

    def userdb(self, address=ADDRESS):
        return self.clients["doveauth"].ask(f"Lshared/userdb/{address}".encode())[:1]

    def state(self, address=ADDRESS):
        answer = self.clients["recipients"].ask(f"Lshared/mailbox/{address}".encode())
        return answer[1:].strip().decode() if answer[:1] == b"O" else answer[:1]

    def account(self, address=ADDRESS):
        return self.clients["recipients"].ask(f"Lshared/account/{address}".encode())

    def mailbox(self, address=ADDRESS):
        return self.mailboxes.find(address)


@pytest.fixture
def server(directory_server):
    return directory_server


@pytest.fixture
def patient(monkeypatch):
    """The services wait for the directory, however busy the machine is."""
    made = Directory.of
    monkeypatch.setattr(Directory, "of", lambda *arguments, **options: made(
        *arguments, **{"patience": 60} | options))
    monkeypatch.setattr(directory, "HURRY", 60)


@pytest.fixture
def hosts(server, tmp_path, patient):
    with joined(tmp_path, server) as hosts:
        yield hosts


@contextlib.contextmanager
def joined(directory, server, *standbys):
    """Two hosts that are in the directory, and ask it."""
    with contextlib.ExitStack() as stack:
        one, two = (Host(server, directory / name, f"{name}.example", stack, *standbys)
                    for name in ("one", "two"))
        one.directory.join("192.0.2.10"), two.directory.join("192.0.2.20")
        for host in (one, two):
            until(lambda: host.userdb("nobody12@chat.example") == b"N"
                  and host.state("nobody12@chat.example") == b"N", "the directory to be asked")
        yield one, two


def test_doveauth_tells_the_directory_its_settings_whenever_it_reads_them(hosts):
    one, two = hosts
    one.reload()
    until(lambda: one.directory.told()["one.example"]
          == sharedsettings.of(one.config, "one.example"), "them to be told")
    text = f"{one.text}delete_mails_after = 3\n"
    one.config = inifile.parse(text.encode(), one.config.path)
    one.reload()
    until(lambda: two.directory.told()["one.example"]["chat.example"]["delete_mails_after"] == "3",
          "what has changed to be told")


def test_an_account_lives_where_its_first_login_was(hosts):
    one, two = hosts
    made = one.login()
    assert set(made) == {"user", "password"} and one.mailbox().hash() == made["password"]
    assert two.login() == {**made, "host": "one.example", "hostip": "192.0.2.10"}
    assert two.login("wrong") == two.login(), "who asks verifies"
    assert not two.mailbox().exists()


def test_mail_for_an_account_elsewhere_waits_and_is_never_unknown(hosts):
    one, two = hosts
    one.login()
    assert (one.userdb(), two.userdb()) == (b"O", b"F")
    assert one.userdb("nobody12@chat.example") == two.userdb("nobody12@chat.example") == b"N"


def test_filters_know_the_mailboxes_of_other_hosts(hosts):
    one, two = hosts
    one.login()
    assert one.state() == two.state() == two.state("somebody1+tag@chat.example") == "enforcing"
    assert two.account() == b"Oenforcing -\n"
    one.mailbox().block()
    one.directory.update(ADDRESS, one.mailbox().hash(), True, False)
    until(lambda: two.state() == "blocked", "the answer to be asked for again")
    assert two.login() == b"N"
    assert two.state("nobody12@chat.example") == b"N"


def test_two_hosts_that_make_one_address_at_once_make_one_account(hosts):
    """Whoever's password it is gets in at either host."""
    addresses = [f"racer{number:04}@chat.example" for number in range(200)]
    answers = {host: [] for host in hosts}
    barrier = threading.Barrier(2)

    def run(host):
        for number, address in enumerate(addresses):
            barrier.wait(60)
            same = number % 2 == 0
            answers[host].append(host.login(
                PASSWORD if same else f"password {hosts.index(host)}", address))

    threads = [threading.Thread(target=run, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for address, first, second in zip(addresses, *answers.values(), strict=True):
        assert first["password"] == second["password"]
        assert sum("host" in answer for answer in (first, second)) == 1
        assert [host.mailbox(address).exists() for host in hosts] == [
            "host" not in first, "host" not in second]


def test_a_claim_whose_host_died_before_the_disk_becomes_an_account_at_home(hosts):
    one, two = hosts
    one.directory.claim(ADDRESS, "{PLAIN}claimed")
    assert two.login()["password"] == "{PLAIN}claimed" and not one.mailbox().exists()
    assert one.userdb() == b"O", "mail comes first"
    assert one.mailbox().hash() == one.login("wrong")["password"] == "{PLAIN}claimed"


def test_an_address_that_was_being_deleted_is_free_once_its_mailbox_is_gone(hosts):
    one, two = hosts
    one.login()
    one.directory.leave(ADDRESS)
    one.mailbox().delete()
    assert one.userdb() == b"N" and one.state() == b"N"
    assert one.login("the next owner") == b"F", "sessions of the former owner may be open"
    one.mailbox().settle()
    assert one.login("the next owner") and not one.directory.find(ADDRESS).leaving


def test_a_blocked_address_is_made_nowhere(hosts):
    one, two = hosts
    one.directory.update(ADDRESS, None, True, False)
    assert one.login() == two.login() == b"N"
    assert one.userdb() == two.userdb() == b"N"


def test_an_account_on_the_move_waits(hosts):
    one, two = hosts
    one.directory.claim(ADDRESS, "{PLAIN}x")
    one.directory.begin_move(ADDRESS, "two.example")
    assert one.login() == one.userdb() == b"F" and not one.mailbox().exists()


def test_a_reload_keeps_the_connections_or_makes_new_ones(hosts, server):
    one, two = hosts
    one.login()
    two.reload()
    assert two.login()["host"] == "one.example"
    two.connection.write_text(f"# another role\n{server.conninfo('postgres')}\n")
    two.reload()
    assert until(lambda: isinstance(answer := two.login(), dict) and answer,
                 "the new role")["host"] == "one.example"
    until(lambda: int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'postgres' "
                                 "AND application_name LIKE 'chatmaild %'")) >= 4,
          "all connections of the new role")


def move(address, old, new):
    """An account goes from one host to the other, by what `chatmaild directory` does to both."""
    stored = old.mailbox(address).hash()
    assert old.directory.begin_move(address, new.directory.node)
    assert departure.hide(old.mailbox(address).home)
    os.rename(departure.path_of(old.mailbox(address).home),
              departure.arrival_of(new.mailbox(address).home))
    assert new.directory.end_move(address, stored, False)


def test_who_has_just_arrived_is_put_in_place_by_the_first_who_asks(hosts):
    """The command that took the mailbox was killed before it did."""
    one, two = hosts
    names = "mover1234@chat.example", "mover5678@chat.example"
    for ask, name in zip((two.login, two.userdb), names):
        made = one.login(address=name)
        move(name, one, two)
        assert not two.mailbox(name).exists()
        assert ask(address=name) in (made, b"O")
        assert two.mailbox(name).hash() == made["password"] and one.login(address=name)["host"]


def test_no_mailbox_is_made_beside_one_that_waits_to_move(hosts):
    """The directory knows nothing of the move: it was restored from a backup."""
    one, _ = hosts
    one.login()
    departure.hide(one.mailbox().home)
    assert one.login() == one.userdb() == b"F" and not one.mailbox().exists()
    assert one.reconcile() == 0 and isinstance(one.login(), dict)


def test_accounts_here_need_no_database_and_others_wait_for_it(hosts, server):
    one, two = hosts
    one.login(), two.login(address="somebody2@chat.example")
    server.kill()
    try:
        assert "host" not in one.login() and one.userdb() == b"O" and one.state() == "enforcing"
        assert two.login() == two.userdb() == two.state() == b"F"
        assert one.login(address="newcomer1@chat.example") == b"F"
        assert one.userdb("newcomer1@chat.example") == b"F", "nobody is unknown now"
    finally:
        server.start()
    again = until(lambda: isinstance(answer := two.login(), dict) and answer,
                  "the directory to be found again")
    assert again["host"] == "one.example"


def test_without_the_standby_newcomers_wait_and_get_no_mailbox_that_could_be_forgotten(
        server, tmp_path):
    """These hosts are not patient, and may have to be asked again."""
    newcomer = "newcomer1@chat.example"
    with joined(tmp_path, server) as (one, two):
        until(lambda: isinstance(one.login(), dict), "an account")
        with server.missing_its_standby():
            assert one.login(address=newcomer) == b"F"
            until(lambda: server.sql("SELECT count(*) FROM account") == "2", "the claim to be left")
            assert one.login(address=newcomer) == one.userdb(newcomer) == b"F"
            assert not one.mailbox(newcomer).exists(), "a promotion would forget it"
            assert isinstance(one.login(), dict)
            until(lambda: home_of(two.login()) == "one.example", "where the account lives")
        until(lambda: isinstance(one.login(address=newcomer), dict), "the newcomer to be in")
        assert one.mailbox(newcomer).exists()
        until(lambda: home_of(two.login(address=newcomer)) == "one.example", "where they live")


def home_of(answer):
    return isinstance(answer, dict) and answer.get("host")


def test_a_promotion_while_claims_are_under_way_gives_no_address_two_homes(tmp_path, patient):
    """The standby is synchronous, so it forgets nobody."""
    with postgresql.server() as primary:
        directoryschema.init(primary.conninfo("postgres"))
        with (postgresql.server(primary) as standby,
              joined(tmp_path, primary, standby) as hosts):
            one, two = hosts
            primary.wait_for_standby()
            with racing(hosts) as answers:
                until(lambda: len(answers[two]) >= 30, "claims")
                primary.kill()
                standby.promote()
                before = len(answers[two])
                until(lambda: sum(isinstance(each, dict) for each in
                                  [*answers[two].values()][before:]) >= 30, "a new primary")
            assert [answer for answer in answers[two].values() if answer == b"F"], "none was lost"
            for address, said in answers[one].items():
                again = two.login(address=address), one.login(address=address)
                home, = (each for each in hosts if each.mailbox(address).exists())
                assert {each["password"] for each in (said, answers[two][address], *again)
                        if each != b"F"} == {home.mailbox(address).hash()}, address


@contextlib.contextmanager
def racing(hosts):
    """One newcomer after the other at all hosts at once, with different passwords; what each host
    answers, by address."""
    barrier, over = threading.Barrier(len(hosts)), threading.Event()
    answers = {host: {} for host in hosts}

    def run(host):
        with contextlib.suppress(threading.BrokenBarrierError):
            for number in itertools.count():
                barrier.wait(60)
                address = f"racer{number:04}@chat.example"
                answer = host.login(f"of the host {hosts.index(host)}", address)
                answers[host][address] = answer
                over.wait(0.1 if answer == b"F" else 0)

    threads = [threading.Thread(target=run, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        barrier.abort(), over.set()
        for thread in threads:
            thread.join(60)


def test_whom_a_promotion_forgot_the_home_enters_again(tmp_path, patient):
    """Without synchronous replication; the steps are those of several-hosts.md."""
    newest, moved = "newest123@chat.example", "moved1234@chat.example"
    with postgresql.server() as primary:
        directoryschema.init(primary.conninfo("postgres"))
        with (postgresql.server(primary) as standby,
              joined(tmp_path, primary, standby) as (one, two)):
            one.login(), one.login(address=moved)
            standby.caught_up(primary)
            standby.fall_behind()
            one.login(address=newest)
            move(moved, one, two)
            two.login(address=moved)
            for host in (one, two):
                host.nocreate.touch()
            primary.kill()
            assert one.login(address=moved) == one.userdb(moved) == b"F", "the standby lags"
            standby.promote()
            assert until(lambda: isinstance(answer := two.login(), dict) and answer,
                         "the new primary to be found")["host"] == "one.example"
            assert standby.sql("SELECT address FROM account ORDER BY address") == (
                f"{moved}\n{ADDRESS}")
            until(lambda: one.state("nobody12@chat.example") == b"N", "the new primary")
            assert one.login(address=moved) == one.userdb(moved) == b"F"
            assert "host" not in one.login(address=newest), "at home nobody asks the directory"
            assert two.login(address=newest) == b"F", "they are to try again, and are not unknown"
            assert one.reconcile() == two.reconcile() == 1, "they name it"
            assert one.reconcile("--release-missing") == two.reconcile() == 0
            assert one.mailbox(newest).exists() and not one.mailbox(moved).exists()
            for host in (one, two):
                host.nocreate.unlink()
            assert two.login(address=newest)["host"] == "one.example"
            assert one.login(address=moved)["host"] == "two.example"
            assert not two.mailbox(newest).exists()
