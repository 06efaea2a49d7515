"""What hosts of one domain compare, and what none of them learns."""

import pytest

from chatmaild.accounts import sharedsettings
from chatmaild.config import inifile

SECRET = "a secret of the TURN server"
FILES = "turn_server = turn.example:3478\nturn_secret_file = {0}/secret\n"


def config(directory, text=""):
    return inifile.parse(f"[chatmaild]\nmail_domains = chat.example\n{text}\n".encode(),
                         directory / "chatmaild.ini")


def found(here, there):
    """What a host with the configuration `here` says of one that told of its own."""
    return list(sharedsettings.differences(sharedsettings.of(here, "b"),
                                           sharedsettings.of(there, "b")))


@pytest.mark.parametrize("text, words", [
    ("", ""), ("max_mailbox_size = 524288000", ""), ("max_signups_per_hour = 7", ""),
    ("mailboxes_dir = /srv/mail", ""), ("reserved_names = root", "reserved_names of chat.example"),
    ("max_mailbox_size = 1G",
     "max_mailbox_size of chat.example (524288000 here, 1073741824 there)"),
    ("push = no", "push of chat.example (yes here, no there)"),
    ("[domain chat.example]\nsignup = closed", "signup of chat.example (open here, closed there)"),
    ("iroh_relay = https://iroh.example", "(empty here, https://iroh.example there)"),
    ("push_gateway = https://push.example/", "push_gateway (https://notifications.delta.chat"),
    ("metadata_comment = hello", "metadata_comment of chat.example (empty here, hello there)"),
    ("incoming_authenticity = off", "incoming_authenticity (dkim here, off there)")])
def test_settings_that_accounts_notice_are_compared(tmp_path, text, words):
    assert [words in each for each in found(config(tmp_path), config(tmp_path, text))] == (
        [True] if words else [])


def test_other_domains_and_keys_of_another_release_are_not(tmp_path):
    here = config(tmp_path)
    there = sharedsettings.of(here, "b")
    there["chat.example"]["a_key_of_tomorrow"] = "yes"
    del there["chat.example"]["push"]
    there["other.example"] = {"push": "no"}
    assert not list(sharedsettings.differences(sharedsettings.of(here, "b"), there))


def test_a_secret_is_compared_and_not_told(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
        (directory / "secret").write_text(SECRET)
    here, there = (config(directory, FILES.format(directory)) for directory in (one, two))
    assert found(here, there) == []
    told = sharedsettings.of(here, "a"), sharedsettings.of(here, "b")
    assert SECRET not in str(told)
    digests = {each["chat.example"]["turn_secret_file"] for each in told}
    assert len(digests) == 2, "who knows one secret could tell it by a list"
    for change in (lambda path: path.write_text("another"), lambda path: path.unlink()):
        change(two / "secret")
        assert found(here, there) == ["what turn_secret_file of chat.example names"]
