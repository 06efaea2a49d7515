"""The directory follows what commands and the daily run do to the mailboxes of a host."""

import os

import pytest

from chatmaild.accounts.entries import Entries
from chatmaild.accounts.invites import Uninvited
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.errors import DirectoryError, StoreError
from chatmaild.retention.expiry import Expiry

ADDRESS = "somebody1@chat.example"
HASH = "{SHA512-CRYPT}$6$salt$hash"
NOW = 1_800_000_000


class Host:
    def __init__(self, server, directory, node):
        directory.mkdir()
        (directory / "directory.conf").write_text(server.conninfo() + "\n")
        self.config = inifile.parse(
            f"[chatmaild]\nmail_domains = chat.example\nnode = {node}\nsignup = invite\n"
            f"mailboxes_dir = {directory}/mail\npush_tokens_dir = {directory}/tokens\n"
            f"directory = {directory}/directory.conf\n".encode(), directory / "chatmaild.ini")
        self.mailboxes = Mailboxes(self.config)
        self.mailboxes.prepare()
        self.entries = Entries(self.config)
        self.directory = self.entries.directory
        self.mailbox = self.mailboxes.find(ADDRESS)

    def make(self, now=NOW):
        self.entries.claim(self.mailbox, HASH)
        self.mailbox.create(HASH, now)

    def expire(self, dry_run=False):
        """The problems of a run."""
        problems = []
        expiry = Expiry(self.config, NOW, dry_run, None, lambda path, error: problems.append(error))
        expiry.walk(lambda: None, expiry.sweep())
        return problems


@pytest.fixture
def hosts(directory_server, tmp_path):
    one, two = (Host(directory_server, tmp_path / name, name) for name in ("one", "two"))
    one.directory.join("192.0.2.10"), two.directory.join("192.0.2.20")
    yield one, two
    one.entries.close(), two.entries.close()


def test_what_changes_at_home_is_known_everywhere(hosts):
    one, two = hosts
    one.make()
    one.mailbox.block(), one.mailbox.enforce_encryption(False), one.entries.changed(one.mailbox)
    entry = two.directory.find(ADDRESS)
    assert entry.blocked and entry.cleartext
    with one.entries.deleting(one.mailbox):
        one.mailbox.delete(block=True)
    assert two.directory.find(ADDRESS).hash is None
    one.mailbox.unblock(), one.entries.changed(one.mailbox)
    assert two.directory.find(ADDRESS) is None


def test_an_account_is_made_and_changed_at_its_home_only(hosts):
    one, two = hosts
    one.make()
    with pytest.raises(StoreError, match="lives on one"):
        two.entries.assert_home(two.mailbox)
    with pytest.raises(StoreError, match="already on one"):
        two.entries.claim(two.mailbox, HASH)
    one.entries.assert_home(one.mailbox)


def test_an_address_that_expires_is_released(hosts):
    one, two = hosts
    one.make(now=NOW - 200 * 86_400)
    active = one.mailboxes.find("somebody2@chat.example")    # it shows that logins are recorded
    active.create(HASH, NOW)
    os.utime(f"{active.home}/enforceE2EEincoming", (0, 0))
    assert one.expire(dry_run=True) == [] and two.directory.find(ADDRESS)
    assert one.expire() == []
    assert not one.mailbox.exists() and two.directory.find(ADDRESS) is None


def test_who_is_being_deleted_and_was_not_is_kept(hosts):
    one, two = hosts
    one.make()
    with pytest.raises(ValueError), one.entries.deleting(one.mailbox):
        raise ValueError
    assert not two.directory.find(ADDRESS).leaving


def test_without_the_database_nothing_is_deleted(hosts, directory_server):
    one, _ = hosts
    one.make()
    directory_server.kill()
    try:
        with pytest.raises(DirectoryError), one.entries.deleting(one.mailbox):
            one.mailbox.delete()
        assert one.mailbox.exists()
    finally:
        directory_server.start()


def test_an_invitation_that_was_made_at_one_host_works_at_another(hosts):
    one, two = hosts
    invites = one.entries.invites(one.mailboxes)
    batch, (first, second) = invites.create(one.mailbox.domain, 2, 3, NOW)
    shared = two.entries.invites(two.mailboxes)
    assert [(each.id, each.left) for each in shared.batches("chat.example")] == [(batch, 2)]
    assert two.directory.claim(first.address, HASH, first.password.encode(), invited=False,
                               now=NOW).made
    assert shared.revoke("chat.example", batch) == 1
    with pytest.raises(Uninvited):
        one.directory.claim(second.address, HASH, second.password.encode(), invited=False, now=NOW)


def test_invitations_that_have_expired_go_with_the_daily_run(hosts):
    one, _ = hosts
    one.entries.invites(one.mailboxes).create(one.mailbox.domain, 1, 3, NOW - 10 * 86_400)
    assert one.expire() == [] and one.directory.invitations("chat.example") == []
