"""One way to write the file, every mistake shown at once, and nothing but our error for any bytes.
"""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from chatmaild.config import inifile
from chatmaild.config.config import DOMAIN_KEYS, HOST_KEYS
from chatmaild.errors import ConfigError

PATH = Path("/etc/chatmaild/chatmaild.ini")


def parse(text):
    return inifile.parse(text.encode() if isinstance(text, str) else text, PATH)


def problems(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return list(caught.value.problems)


def test_an_empty_file_is_an_idle_host():
    found = parse("")
    assert found.mail_domains == () and found.domains == {}
    assert found.mail_user == "_chatmaild"
    assert found.min_available_memory == 200 << 20


def test_a_domain_has_the_main_section_s_values_and_its_own():
    found = parse("""\
[chatmaild]
mail_domains = Chat.example.org, other.example.org chat.example.org
delete_mails_after = 10
max_mailbox_size = 1G

[domain OTHER.example.org]
delete_mails_after = 5
""")
    assert found.mail_domains == ("chat.example.org", "other.example.org")
    chat, other = (found.domains[name] for name in found.mail_domains)
    assert (chat.name, chat.delete_mails_after, chat.max_mailbox_size) == (
        "chat.example.org", 10, 1 << 30)
    assert (other.name, other.delete_mails_after, other.max_mailbox_size) == (
        "other.example.org", 5, 1 << 30)


def test_the_result_cannot_be_changed():
    found = parse("[chatmaild]\nmail_domains = chat.example.org\n")
    for value in (found, found.domains["chat.example.org"]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.delete_mails_after = 1


@pytest.mark.parametrize("address, known", [
    ("a@chat.example.org", True), ("A@CHAT.Example.org", True), ('"a@b"@chat.example.org', True),
    ("a@example.org", False), ("a@sub.chat.example.org", False), ("chat.example.org", True),
    ("", False), ("a@chat.example.org.", False), ("chat.example.org@example.net", False),
])
def test_finds_the_domain_of_an_address(address, known):
    found = parse("[chatmaild]\nmail_domains = chat.example.org\n").domain_of(address)
    assert (found is not None) == known


@pytest.mark.parametrize("line", [
    "delete_mails_after=3", "  delete_mails_after   =   3  ", "delete_mails_after = 3\r",
    "; a comment\n# another = 5\ndelete_mails_after = 3",
])
def test_reads_a_line_as_an_admin_writes_it(line):
    found = parse(f"\ufeff[chatmaild]\nmail_domains = c.example\n{line}")
    assert found.domains["c.example"].delete_mails_after == 3


def test_a_value_may_hold_equal_signs_and_no_comment_follows_it():
    assert "delete_mails_after = 3 # days" in problems(
        "[chatmaild]\ndelete_mails_after = 3 # days\n")[0]
    assert parse("[chatmaild]\nrecipient_delimiter = =\n").recipient_delimiter == "="


@pytest.mark.parametrize("text, says", [
    ("[chatmaild]\ndelete_mails_afer = 3", ":2: delete_mails_afer: unknown key; did you mean "
     "delete_mails_after?"),
    ("[chatmaild]\nxyzzy = 3", ":2: xyzzy: unknown key; chatmaild.ini(5) lists the keys"),
    ("[chatmaild]\ndelete_mails_after = soon", "must be a whole number from 1 to 36500"),
    ("[chatmaild]\nlog_addresses = perhaps", "must be yes or no"),
    ("[chatmaild]\nmax_mailbox_size = 5 parrots", "must be a size such as 500M"),
    ("[chatmaild]\nmax_mailbox_size = 1025T", "must be at most 1024T"),
    ("[chatmaild]\ndelete_mails_after\u00a0= 3", ":2: U+00A0: looks like a blank but is not one"),
    ("[chatmaild]\nmailboxes_dir = mail", "must be an absolute path"),
    ("[chatmaild]\nmail_user = ../root", "must be the name of a user"),
    ("[chatmaild]\nmail_domains = chat..example", "is not a domain name"),
    ("[chatmaild]\nmail_domains = bücher.example", "xn--"),
    ("[chatmaild]\nmail_domains = a/../b", "is not a domain name"),
    ("[chatmaild]\npassthrough_senders = someone", "is neither an address nor @domain"),
    ("mail_domains = a.example", ":1: a key before the first section; begin with [chatmaild]"),
    ("[chatmail]\n", ":1: [chatmail]: must be [chatmaild] or [domain NAME]"),
    ("[chatmaild", "must be [chatmaild] or [domain NAME]"),
    ("[chatmaild]\n[chatmaild]", ":2: [chatmaild]: this section is there twice"),
    ("[chatmaild]\nmail_user = a\nmail_user = b", ":3: mail_user: already set in line 2"),
    ("[chatmaild]\npassthrough_senders = a@b.example\n  c@d.example\n",
     ":3: 'c@d.example': expected 'key = value' on one line (values cannot continue"),
    ("[domain a.example]\nsignup = open", "a.example is not among mail_domains"),
    ("[chatmaild]\nmail_domains = a.example\n[domain a.example]\nmail_user = x",
     ":4: mail_user: is a setting of the host, so it belongs in [chatmaild]"),
    ("[chatmaild]\nmail_domains = a.example\nusername_min_length = 12",
     "username_min_length (12) is larger than username_max_length (9)"),
    (b"[chatmaild]\nmail_user = \xff", ":2: not valid UTF-8"),
    ("# one\n[chatmaild]\nxyzzy = 1\n".encode("utf-16"), ".ini: is in UTF-16; save it as UTF-8"),
    ("[chatmaild]\nMAIL_DOMAINS = a.example", "unknown key; did you mean mail_domains?"),
    ("[chatmaild]\nmax_load_1m = 5 # enough", "10000; a comment needs a line of its own"),
])
def test_a_mistake_is_named_with_its_place_and_the_way_out(text, says):
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(str(PATH))
    assert says in found[0]


def test_all_mistakes_are_shown_at_once_in_the_order_of_the_file():
    found = problems("""\
[chatmaild]
mail_domains = a.example b.example
delete_mails_after = soon
log_adresses = yes
[domain a.example]
password_min_length = 0
[domain b.example]
max_mailbox_size = much
""")
    assert [line.split(":")[1] for line in found] == ["3", "4", "6", "8"]


@pytest.mark.parametrize("text, octets", [
    ("0", 0), ("1", 1), ("1k", 1 << 10), ("2 M", 2 << 20), ("3GB", 3 << 30), ("1TiB", 1 << 40),
])
def test_sizes(text, octets):
    assert parse(f"[chatmaild]\nmin_free_disk_space = {text}\n").min_free_disk_space == octets


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "missing.ini", tmp_path):
        with pytest.raises(ConfigError, match=f"^{path}: .*CHATMAILD_CONFIG"):
            inifile.load(path)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "huge.ini"
    path.write_bytes(b"#" * (inifile.MAX_FILE_SIZE + 1))
    with pytest.raises(ConfigError, match="not a file of ours"):
        inifile.load(path)


LINES = st.one_of(
    st.sampled_from([b"[chatmaild]", b"[domain a.example]", b"mail_domains = a.example", b"="]),
    st.binary(max_size=40),
    st.builds(lambda key, value: key.encode() + b" = " + value,
              st.sampled_from([*HOST_KEYS, *DOMAIN_KEYS]), st.binary(max_size=30)),
)


@given(st.lists(LINES, max_size=8))
def test_whatever_bytes_come_it_is_a_configuration_or_our_error(lines):
    try:
        found = inifile.parse(b"\n".join(lines), PATH)
    except ConfigError as error:
        assert error.problems
    else:
        assert set(found.domains) == set(found.mail_domains)
