"""The directory on a real PostgreSQL: who has an address, whatever races, dies or hangs."""

import contextlib
import threading
import time
from pathlib import Path

import postgresql
import pytest
from rig.until import until

from chatmaild.accounts import directory, directorylines, directoryschema
from chatmaild.accounts.directory import Directory
from chatmaild.accounts.directorylines import Kind
from chatmaild.accounts.directoryschema import VERSION
from chatmaild.accounts.invites import Uninvited
from chatmaild.errors import DirectoryError

ADDRESS = "somebody1@chat.example"
DOMAIN = "chat.example"
HASH = "{SHA512-CRYPT}$6$salt$hash"
TOKEN = b"a" * 20


@pytest.fixture
def server(directory_server):
    return directory_server


@pytest.fixture
def hosts(server):
    """Two hosts, a and b, of an empty directory."""
    with opened(server, "a") as a, opened(server, "b") as b:
        a.join("192.0.2.10")
        b.join("192.0.2.20")
        yield a, b


@contextlib.contextmanager
def opened(server, node, *others, lines=2, patience=30):
    made = Directory(server.conninfo("chatmaild", *others), node, lines, patience)
    try:
        yield made
    finally:
        made.close()


def test_the_tables_are_made_once_and_kept(server, hosts):
    hosts[0].claim(ADDRESS, HASH)
    assert directoryschema.init(server.conninfo("postgres")) == hosts[0].version() == VERSION
    assert hosts[0].find(ADDRESS).hash == HASH


def test_tables_of_a_later_release_are_left_alone(server, hosts):
    server.sql("UPDATE chatmaild_directory SET version = 7")
    with pytest.raises(DirectoryError, match="version 7"):
        directoryschema.init(server.conninfo("postgres"))
    server.sql(f"UPDATE chatmaild_directory SET version = {VERSION}")


def test_hosts_of_two_releases_are_at_work_on_the_tables_of_the_later_one(
        server, hosts, monkeypatch):
    """While one after the other is upgraded. The later release adds a column."""
    former, later = hosts
    former.claim(ADDRESS, HASH)
    superuser = server.conninfo("postgres")
    try:
        with monkeypatch.context() as release:
            release.setattr(directoryschema, "VERSION", VERSION + 1)
            release.setattr(directoryschema, "STATEMENTS", (
                *directoryschema.STATEMENTS,
                "ALTER TABLE account ADD COLUMN IF NOT EXISTS made bigint NOT NULL DEFAULT 7"))
            assert directoryschema.init(superuser) == directoryschema.init(superuser) == VERSION + 1
        assert server.sql("SELECT made FROM account", directoryschema.OURS) == "7"
        with pytest.raises(DirectoryError, match=f"version {VERSION + 1}, but .* upgrade it here"):
            directoryschema.init(superuser)
        assert former.version() == VERSION + 1
        assert former.claim(f"other@{DOMAIN}", HASH).made and later.find(f"other@{DOMAIN}")
        former.update(ADDRESS, HASH, True, False)
        assert later.find(ADDRESS).blocked
        assert former.begin_move(ADDRESS, "b") and later.end_move(ADDRESS, HASH, False)
        former.invite(DOMAIN, "batch", [TOKEN], 1000, 2000)
        assert later.claim(f"third@{DOMAIN}", HASH, TOKEN, invited=False, now=1500).made
    finally:
        server.sql("ALTER TABLE account DROP COLUMN IF EXISTS made")
        server.sql(f"UPDATE chatmaild_directory SET version = {VERSION}")


def test_the_tables_of_the_first_release_are_brought_up_to_date(server, hosts):
    """Until then a host with this release does its work, and one of the first one afterwards."""
    a, b = hosts
    server.sql("ALTER TABLE node DROP COLUMN settings")
    server.sql("UPDATE chatmaild_directory SET version = 1")
    try:
        a.tell({"": {"push": "yes"}})
        assert b.claim(ADDRESS, HASH).made and a.find(ADDRESS).node == "b"
        assert {node.name for node in a.nodes()} == {"a", "b"} and a.version() == 1
    finally:
        assert directoryschema.init(server.conninfo("postgres")) == VERSION
    assert a.told() == {"a": {}, "b": {}} and a.find(ADDRESS).node == "b"


def test_a_host_tells_its_settings_as_soon_as_the_database_is_there(directory_server, hosts):
    a, b = hosts
    directory_server.kill()
    try:
        a.tell({"": {"push": "yes"}})
        until(lambda: not with_luck(a.version), "it to be missed")
    finally:
        directory_server.start()
    until(lambda: with_luck(b.told) == {"a": {"": {"push": "yes"}}, "b": {}}, "what was told")


def test_the_first_change_after_the_database_was_killed_is_made(directory_server, hosts):
    """The driver calls such a connection open until it is used once more."""
    a, _ = hosts
    directory_server.kill()
    directory_server.start()
    assert a.claim(ADDRESS, HASH).made


def test_what_a_host_tells_of_itself_waits_for_no_standby(server, hosts):
    """Nobody would end the commit, and logins need the connection."""
    a, b = hosts
    with server.missing_its_standby():
        a.tell({"": {"push": "no"}})
        until(lambda: b.told()["a"] == {"": {"push": "no"}}, "what was told")


@pytest.mark.parametrize("statement", [
    "DROP TABLE account", "TRUNCATE account", "UPDATE chatmaild_directory SET version = 9"])
def test_our_role_changes_rows_and_no_more(server, hosts, statement):
    assert hosts[0].claim(ADDRESS, HASH).made
    with pytest.raises(Exception, match="exit status"):
        server.sql(statement, directoryschema.OURS)


def test_the_first_who_claims_has_the_address_and_everybody_knows_where(hosts):
    a, b = hosts
    assert a.find(ADDRESS) is None
    assert a.claim(ADDRESS, HASH).made
    claim = b.claim(ADDRESS, "{PLAIN}other")
    assert not claim.made and claim.entry.hash == HASH
    assert (claim.entry.node, claim.entry.ip, claim.entry.is_own) == ("a", "192.0.2.10", False)
    assert a.find(ADDRESS).is_own
    assert a.claim(ADDRESS, HASH).entry.is_own, "asked twice, after an answer got lost"


@pytest.mark.parametrize("same_password", [True, False])
def test_of_two_hosts_that_claim_one_address_at_once_one_gets_it(server, hosts, same_password):
    races = [f"racer{number:04}@{DOMAIN}" for number in range(100)]
    answers = {"a": [], "b": []}
    barrier = threading.Barrier(2)

    def run(host):
        own = HASH if same_password else f"{{PLAIN}}{host.node}"
        for address in races:
            barrier.wait(60)
            answers[host.node].append(host.claim(address, own))

    threads = [threading.Thread(target=run, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for address, first, second in zip(races, answers["a"], answers["b"], strict=True):
        assert first.made + second.made == 1
        winner = "a" if first.made else "b"
        assert first.entry.node == second.entry.node == winner
        assert first.entry.hash == second.entry.hash == (HASH if same_password
                                                         else f"{{PLAIN}}{winner}")
    assert server.sql("SELECT count(*) FROM account") == str(len(races))


def test_an_invitation_makes_one_account_wherever_it_is_used(hosts):
    a, b = hosts
    a.invite(DOMAIN, "batch", [TOKEN], 1000, 2000)
    for password, now in ((b"b" * 20 + b"secret", 1500), (TOKEN + b"secret", 2000)):
        with pytest.raises(Uninvited):
            b.claim(ADDRESS, HASH, password, invited=False, now=now)
    assert b.find(ADDRESS) is None
    assert b.claim(ADDRESS, HASH, TOKEN + b"secret", invited=False, now=1500).made
    assert not a.claim(ADDRESS, HASH, TOKEN + b"secret", invited=False, now=1500).made
    with pytest.raises(Uninvited):
        a.claim(f"other@{DOMAIN}", HASH, TOKEN + b"secret", invited=False, now=1500)
    assert a.invitations(DOMAIN) == []


def test_invitations_are_listed_and_taken_back_by_batch(server, hosts):
    a, b = hosts
    a.invite(DOMAIN, "one", [b"c" * 20, b"d" * 20], 1000, 2000)
    a.invite(DOMAIN, "two", [b"e" * 20], 1100, 3000)
    assert "cccc" not in server.sql("SELECT * FROM invitation"), "only hashes are kept"
    assert b.invitations(DOMAIN) == [("one", 1000, 2000, 2), ("two", 1100, 3000, 1)]
    assert b.revoke(DOMAIN, "one") == 2
    assert a.forget_invitations(DOMAIN, 3000) == 1


def test_only_the_home_releases_an_address(hosts):
    a, b = hosts
    a.claim(ADDRESS, HASH)
    b.leave(ADDRESS), b.release(ADDRESS), a.release(ADDRESS)
    assert a.find(ADDRESS)
    a.leave(ADDRESS)
    assert b.find(ADDRESS).leaving
    a.release(ADDRESS)
    assert b.claim(ADDRESS, HASH).made


def test_who_gets_an_address_while_it_is_being_deleted_keeps_it(hosts):
    a, _ = hosts
    a.claim(ADDRESS, HASH), a.leave(ADDRESS)
    a.release(ADDRESS), a.claim(ADDRESS, "{PLAIN}next")
    a.release(ADDRESS)
    assert a.find(ADDRESS).hash == "{PLAIN}next"


def test_an_address_that_is_to_stay_blocked_is_nobodys_again(hosts):
    a, b = hosts
    a.claim(ADDRESS, HASH), a.leave(ADDRESS)
    a.release(ADDRESS, keep_blocked=True)
    claim = b.claim(ADDRESS, HASH)
    assert not claim.made and claim.entry.blocked and claim.entry.hash is None


def test_a_host_that_takes_no_new_accounts_claims_for_another_one(hosts):
    a, b = hosts
    a.accept("a", False)
    claim = a.claim(ADDRESS, HASH)
    assert claim.made and claim.entry.node == "b"
    assert a.claim(f"wanted@{DOMAIN}", HASH, here=True).entry.is_own, "an admin insists"
    a.accept("b", False)
    with pytest.raises(DirectoryError, match="no host takes new accounts"):
        a.claim(f"other@{DOMAIN}", HASH)


def test_what_the_disk_of_the_home_says_goes_into_the_directory(hosts):
    a, b = hosts
    b.claim(f"elsewhere@{DOMAIN}", HASH)
    assert a.put([(ADDRESS, HASH, True, True), (f"elsewhere@{DOMAIN}", "{PLAIN}mine", False, False)
                  ]) == [f"elsewhere@{DOMAIN}"]
    entry = b.find(ADDRESS)
    assert (entry.node, entry.blocked, entry.cleartext) == ("a", True, True)
    a.update(ADDRESS, "{PLAIN}new", False, False)
    assert b.find(ADDRESS).hash == "{PLAIN}new"
    assert [entry.address for entry in a.entries(DOMAIN)] == [ADDRESS]
    assert len(list(a.entries(DOMAIN, everywhere=True))) == 2
    assert [(node.name, node.accounts) for node in a.nodes()] == [("a", 1), ("b", 1)]


def test_an_address_moves_once_at_a_time(hosts):
    a, b = hosts
    a.claim(ADDRESS, HASH)
    assert not b.begin_move(ADDRESS, "a"), "b is not its home"
    assert not a.begin_move(ADDRESS, "nowhere")
    assert a.begin_move(ADDRESS, "b") and a.begin_move(ADDRESS, "b"), "an interrupted one goes on"
    assert b.find(ADDRESS).moving == "b"
    assert not a.end_move(ADDRESS, HASH, False), "it does not move here"
    assert b.end_move(ADDRESS, "{PLAIN}as it came", True)
    assert not b.end_move(ADDRESS, HASH, False) and not a.cancel_move(ADDRESS), "it is over"
    entry = b.find(ADDRESS)
    assert entry.is_own and entry.moving is None
    assert (entry.hash, entry.cleartext) == ("{PLAIN}as it came", True)


def test_a_primary_that_restarts_is_asked_again(server, hosts):
    a, _ = hosts
    a.claim(ADDRESS, HASH)
    server.kill()
    server.start()
    assert until(lambda: with_luck(lambda: a.find(ADDRESS)), "the directory to answer").is_own


def with_luck(function):
    with contextlib.suppress(DirectoryError):
        return function()


def test_a_database_that_is_not_there_is_an_error_at_once(tmp_path):
    nobody = Directory(f"host={tmp_path} dbname=x user=y", "a", lines=1)
    try:
        with pytest.raises(DirectoryError):
            nobody.find(ADDRESS)
    finally:
        nobody.close()


@pytest.mark.parametrize("text, problem", [
    ("", "must hold one line"), ("host=a\nhost=b\n", "must hold one line"),
    (None, "No such file"), ("# a comment\nno connection string\n", "not a valid one")])
def test_a_file_without_a_connection_string_is_named(tmp_path, text, problem):
    path = Path(tmp_path / "directory.conf")
    if text is not None:
        path.write_text(text)
    with pytest.raises(DirectoryError, match=problem):
        Directory(directorylines.conninfo(path), "a")


def test_without_the_primary_the_standby_says_who_lives_elsewhere_and_nothing_else():
    """It may lag: nobody is unknown, and no mailbox is made anew by what it says."""
    own = f"own@{DOMAIN}"
    with postgresql.server() as primary:
        directoryschema.init(primary.conninfo("postgres"))
        with (postgresql.server(primary) as standby,
              opened(primary, "b", patience=5) as b,
              opened(primary, "a", standby, patience=5) as a):
            a.join("192.0.2.10"), b.join("192.0.2.20")
            b.claim(ADDRESS, HASH), a.claim(own, HASH)
            standby.caught_up(primary)
            with primary.hanging():
                until(lambda: with_luck(lambda: a.find(ADDRESS, in_hurry=True)), "the standby")
                begin = time.monotonic()
                assert {a.find(ADDRESS).hash for _ in range(30)} == {HASH}
                assert time.monotonic() - begin < 60, "each waited for the primary"
            primary.kill()
            assert until(lambda: with_luck(lambda: a.find(ADDRESS)), "the standby").hash == HASH
            for attempt in (lambda: a.find(own), lambda: a.find(f"unknown@{DOMAIN}"),
                            lambda: a.claim(f"unknown@{DOMAIN}", HASH)):
                with pytest.raises(DirectoryError):
                    attempt()
            standby.promote()
            assert until(lambda: with_luck(lambda: a.claim(f"unknown@{DOMAIN}", HASH)),
                         "the promoted one to be found").made


def test_a_primary_that_hangs_holds_nobody_up(server, hosts):
    with opened(server, "a", patience=0.8) as a:
        until(lambda: with_luck(lambda: a.claim(ADDRESS, HASH)), "the claim")
        with server.hanging(), pytest.raises(DirectoryError):
            a.find(ADDRESS)
        assert until(lambda: with_luck(lambda: a.find(ADDRESS)), "the directory to answer").is_own


def test_a_standby_that_is_missed_holds_up_changes_and_nothing_else(server, hosts, monkeypatch):
    """Who left a commit that waits for it is not followed by more and more of them."""
    monkeypatch.setattr(directory, "CHANGE", Kind(0.01))
    hosts[1].claim(f"elsewhere@{DOMAIN}", HASH)
    newcomers = [f"newcomer{number}@{DOMAIN}" for number in range(20)]
    with opened(server, "a", patience=0.1) as a:
        until(lambda: with_luck(a.version), "connections")
        with server.missing_its_standby():
            for address in newcomers:
                with pytest.raises(DirectoryError):
                    a.claim(address, HASH)
                assert until(lambda: with_luck(lambda: a.find(f"elsewhere@{DOMAIN}")), "it").node
                for again in (lambda: a.confirm(address), lambda: a.claim(address, HASH)):
                    with pytest.raises(DirectoryError):
                        again()
            until(lambda: int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = "
                                         "'chatmaild'")) < 20, "sessions to end")
            until(lambda: server.sql("SELECT count(*) FROM account") > "1", "what was left behind")
    assert not {hosts[0].claim(address, HASH).entry.is_own for address in newcomers} - {True}
    hosts[0].confirm(newcomers[0])
    with pytest.raises(DirectoryError, match="has left"):
        hosts[0].confirm(f"nobody@{DOMAIN}")


def test_a_lookup_is_one_statement_that_is_planned_once(server, hosts):
    """What psycopg2 adds of its own accord makes three of it."""
    hosts[0].claim(ADDRESS, HASH)
    server.sql("ALTER ROLE chatmaild SET log_statement = 'all'")
    try:
        with opened(server, "a", lines=1) as a:
            assert a.version() == VERSION
            before = len((server.directory / "log").read_text())
            assert a.find(ADDRESS).hash == a.find(ADDRESS).hash == HASH
            assert a.find(f"nobody@{DOMAIN}") is None
            log = (server.directory / "log").read_text()[before:]
        statements = [line.split("statement: ")[1].split()[0] for line in log.splitlines()
                      if "statement: " in line]
        assert statements == ["PREPARE", "EXECUTE", "EXECUTE", "EXECUTE"]
    finally:
        server.sql("ALTER ROLE chatmaild RESET log_statement")


def test_a_lookup_that_found_no_tables_works_once_they_are_there(server, hosts):
    server.sql("ALTER TABLE account RENAME TO hidden")
    try:
        with pytest.raises(DirectoryError, match='"account" does not exist.* directory init'):
            hosts[0].find(ADDRESS)
    finally:
        server.sql("ALTER TABLE hidden RENAME TO account")
    hosts[0].claim(ADDRESS, HASH)
    assert hosts[0].find(ADDRESS).hash == HASH
