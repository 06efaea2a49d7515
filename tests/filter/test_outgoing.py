"""The rules of outgoing mail, over the tables of attacks and of good messages."""

import dataclasses
from base64 import b64encode

import attacks
import goodmessages
import pytest
from hypothesis import given, settings, strategies as st
from openpgpmessages import gpg_symmetric, headers, mime_body
from outgoingrules import DOMAIN, judge

from chatmaild.filter import outgoing, replies as verdict


def delivered_headers(message_headers, changes):
    """What is left of the headers when the changes were made, as one text."""
    left = list(message_headers)
    for change in changes:
        places = [at for at, (name, _) in enumerate(left) if name == change.name]
        place = places[change.index - 1]
        if change.value is None:
            del left[place]
        else:
            left[place] = (change.name, change.value.encode())
    return b"\n".join(name.encode() + b": " + value for name, value in left)


@pytest.mark.parametrize("name, message_headers, body", attacks.table(),
                         ids=[row[0] for row in attacks.table()])
def test_no_attack_gets_its_text_through(name, message_headers, body):
    found = judge(message_headers, body)
    if found.accepted:
        # It was accepted without the header that the text stood in.
        assert attacks.TEXT not in body
        assert attacks.TEXT not in delivered_headers(message_headers, found.changes)
        assert found.changes
    else:
        assert found.reply in (verdict.UNENCRYPTED, verdict.WRONG_FROM)


def test_the_table_of_attacks_is_about_what_it_says():
    """Each attack but those in headers that go is refused: a table that refuses for a reason of
    its own making would prove nothing, so the message it starts from must pass."""
    good = attacks.body(b"".join(attacks.GOOD_PACKETS))
    assert judge(headers(), good).accepted
    passed = [name for name, h, b in attacks.table() if judge(h, b).accepted]
    goes = ("header ", "Subject", *attacks.REMOVED)
    assert [name for name in passed if not name.startswith(goes)] == []


@pytest.mark.parametrize("name, message_headers, body", goodmessages.table(),
                         ids=[row[0] for row in goodmessages.table()])
def test_what_clients_send_passes(name, message_headers, body):
    found = judge(message_headers, body)
    assert found.accepted, found


def test_the_same_from_twice_is_one_and_leaves_once():
    """Delta Chat 1.142 writes it again in what it sends in clear."""
    repeated = [*headers(), ("From", dict(headers())["From"])]
    found = judge(repeated, mime_body(gpg_symmetric()))
    assert found.accepted
    assert delivered_headers(repeated, found.changes).count(b"From: ") == 1
    other = judge([*headers(), ("From", b"Alice <alice@chat.test>")], mime_body(gpg_symmetric()))
    assert other.reason == "from-twice"


def test_the_verdict_does_not_depend_on_where_chunks_are_cut():
    for name, message_headers, body in [*attacks.table(), *goodmessages.table()]:
        whole = judge(message_headers, body)
        if len(body) < 4500:
            assert judge(message_headers, body, 1) == whole, name
        assert judge(message_headers, body, 997) == whole, name


GOOD = mime_body(gpg_symmetric(1500))
HEADS_END = GOOD.index(attacks.ARMOR_BEGIN)


@pytest.mark.parametrize("name, another", [
    ("bob\uff20chat\uff0etest".encode(), True), ("bob@chat\u3002test".encode(), True),
    (b"=?utf-16?b?%b?=" % b64encode("bob@chat.test".encode("utf-16")), True),
    (b"=?hz-gb-2312?b?%b?=" % b64encode("bob@chat\u3002test".encode("hz")), True),
    ("ALICE@chat\u3002test".encode(), False), ("Al\u3002 @ home\u3002".encode(), False),
    (b"Al\xefce =?nonsense?b?%b?=" % b64encode(b"\xff\xfe"), False)])
def test_no_name_looks_like_the_address_of_somebody_else(name, another):
    refused = outgoing.check_from([("from", b'"%b" <alice@chat.test>' % name)], "alice@chat.test")
    assert (refused and refused.reason) == ("from-shows-another-address" if another else None)


def is_bounded(body):
    """Whether what was put into the values of part headers is within their bound: all else before
    the armor is as it was, and each head is at most a hundred octets longer."""
    heads = [part.partition(b"\r\n\r\n") for part in body.split(attacks.DELIMITER)[1:]]
    good = [part.partition(b"\r\n\r\n") for part in GOOD.split(attacks.DELIMITER)[1:]]
    return len(heads) == len(good) and all(
        len(head) <= len(known) + 100 and behind.strip() == rest.strip()
        for (head, _, behind), (known, _, rest) in zip(heads, good))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD)), st.binary(min_size=1, max_size=100), st.integers(1, 5000))
def test_what_is_inserted_into_a_body_is_not_passed_on(at, inserted, chunk):
    changed = GOOD[:at] + inserted + GOOD[at:]
    blank = changed.replace(b"\r\n", b"") == GOOD.replace(b"\r\n", b"")
    found = judge(headers(), changed, chunk)
    assert blank or not found.accepted or at < HEADS_END and is_bounded(changed)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=20, max_size=100))
def test_what_is_written_over_a_body_is_not_passed_on_unless_it_is_ciphertext(at, written):
    changed = GOOD[:at] + written + GOOD[at + len(written):]
    found = judge(headers(), changed)
    if found.accepted and changed != GOOD:
        assert at < HEADS_END and is_bounded(changed) or all(
            chr(c).isalnum() or c in b"+/=\r\n" for c in written)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 1000))
def test_arbitrary_bodies_never_raise_and_never_pass(body, chunk):
    assert not judge(headers(), body, chunk).accepted
    assert judge(headers(), body, chunk) == judge(headers(), body)


HEADER_NAMES = st.sampled_from(
    ["From", "To", "Subject", "Date", "Message-ID", "References", "Autocrypt", "Content-Type",
     "Content-Transfer-Encoding", "MIME-Version", "Chat-Version", "Secure-Join", "X-Any", "Sender"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(HEADER_NAMES, st.binary(max_size=200)), max_size=12),
       st.binary(max_size=99))
def test_arbitrary_headers_never_raise_and_never_pass(message_headers, body):
    assert not judge(message_headers, body).accepted


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["To", "Cc", "References", "In-Reply-To", "Reply-To", "Message-ID", "Date",
                        "Chat-Version", "Chat-Any", "List-ID", "Secure-Join-Group", "X-Any"]),
       st.integers(0, 9000))
def test_headers_pass_on_no_more_text_than_the_budget(name, length):
    text = "text " * 1800
    message_headers = [pair for pair in headers() if pair[0] != name]
    message_headers.append((name, text[:length].encode()))
    found = judge(message_headers, GOOD)
    if found.accepted:
        left = delivered_headers(message_headers, found.changes)
        assert left.count(b"text ") * 5 <= DOMAIN.max_header_text + 64


MANY = [f"person{number:03}@example.org" for number in range(100)]
ALL_OF_THEM = ", ".join(MANY).encode()


@pytest.mark.parametrize("named, recipients, accepted", [
    (ALL_OF_THEM, MANY, True),
    (ALL_OF_THEM.replace(b", ", b">,\n <"), [address.upper() for address in MANY], True),
    (ALL_OF_THEM, MANY[:1] * 100, False),
    (ALL_OF_THEM, MANY[:1], False),
    (MANY[0].encode(), MANY, False),
    (b", ".join([MANY[0].encode()] * 60), MANY, False),
    (b'"hidden-recipients": ;', MANY, False),
], ids=["all", "other-forms", "one-often", "one", "not-named", "one-named-often", "hidden"])
def test_recipients_that_stand_in_to_add_to_the_budget_once(named, recipients, accepted):
    message_headers = [*attacks.replaced("To", named), ("Chat-Group-Name", b"x" * 5500)]
    found = judge(message_headers, GOOD, recipients=recipients)
    assert found.accepted is accepted, found
    assert accepted or found.reason == "header-text"


def test_recipients_with_a_gossiped_key_add_to_the_budget():
    key = goodmessages.b64encode(b"".join(goodmessages.KEY))
    gossip = [("Autocrypt-Gossip", b"addr=%s; keydata=%s" % (to.encode(), key)) for to in MANY]
    assert judge([*headers(), *gossip], GOOD, recipients=MANY).accepted
    assert judge([*headers(), *gossip], GOOD).reason == "header-text"


@pytest.mark.parametrize("change, recipients, reason", [
    ({"passthrough_senders": frozenset(["alice@chat.test"])}, ["x@y.test"], "passthrough"),
    ({"passthrough_senders": frozenset(["@chat.test"])}, ["x@y.test"], "passthrough"),
    ({"passthrough_senders": frozenset(["lice@chat.test"])}, ["x@y.test"], "not-encrypted"),
    ({"passthrough_recipients": frozenset(["x@y.test"])}, ["X@Y.test"], "passthrough"),
    ({"passthrough_recipients": frozenset(["@y.test"])}, ["x@y.test", "z@y.test"], "passthrough"),
    ({"passthrough_recipients": frozenset(["@y.test"])}, ["x@y.test", "z@sub.y.test"],
     "not-encrypted"),
    ({"passthrough_recipients": frozenset(["x@y.test"])}, [], "not-encrypted"),
])
def test_passthrough(change, recipients, reason):
    domain = dataclasses.replace(DOMAIN, **change)
    plain = [("Received", b"x"), ("From", b"<alice@chat.test>"), ("Subject", b"Hello"),
             ("Content-Type", b"text/plain"), ("Content-Language", b"en"), ("X-Mailer", b"x")]
    found = judge(plain, b"Hello\r\n", domain=domain, recipients=recipients)
    assert found.reason == reason
    if found.accepted:
        assert {change.name for change in found.changes} == {"Received", "X-Mailer"}
        forged = [("From", b"<bob@chat.test>"), *plain[2:]]
        assert judge(forged, b"", domain=domain, recipients=recipients).reply is verdict.WRONG_FROM


def test_size_is_that_of_headers_and_body():
    domain = dataclasses.replace(DOMAIN, max_message_size=2000)
    assert judge(headers(), GOOD, domain=domain).reply is verdict.TOO_LARGE
    assert judge([*headers(), ("X", b"x" * 2000)], b"", domain=domain).reply is verdict.TOO_LARGE


def test_clients_understand_the_refusal():
    """The core looks for these words in lower case; a text that begins with 5.5.0 it retries."""
    assert "invalid unencrypted mail" in verdict.UNENCRYPTED.text.lower()
    replies = [value for value in vars(verdict).values() if isinstance(value, verdict.Reply)]
    assert len(replies) > 5
    for reply in replies:
        assert not f"{reply.status} {reply.text}".startswith("5.5.0")
        assert reply.code[0] == reply.status[0] and "%" not in reply.text
    assert verdict.TOO_FAST.code == "450"


def test_cleaning_is_complete_and_idempotent():
    message_headers = [("Received", b"a"), *headers(), ("X-A", b"1"), ("x-a", b"2"),
                       ("RECEIVED", b"b"), ("Content-ID", b"<x>"), ("Subject", b"[...]")][:-1]
    message_headers = attacks.replaced("Subject", b"secret", message_headers)
    found = judge(message_headers, GOOD)
    assert [(c.name, c.index, c.value) for c in found.changes] == [
        ("Content-ID", 1, None), ("RECEIVED", 2, None), ("x-a", 2, None), ("X-A", 1, None),
        ("Subject", 1, "[...]"), ("Received", 1, None)]
