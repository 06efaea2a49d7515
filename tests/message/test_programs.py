"""Genuine messages pass, whatever their program draws at random: boundaries, names, dates, keys."""

import random

import attacks
import goodmessages
import programs
import pytest
from hypothesis import given, settings, strategies as st
from openpgpmessages import gpg_symmetric
from outgoingrules import ALICE, DOMAIN, judge

from chatmaild.message.reader import Content, ContentKind, MessageReader, ReaderOptions, lower_names

DRAWS = 1000
ARMORED = gpg_symmetric(400)
ENCRYPTED = Content(ContentKind.ENCRYPTED)


def read_incoming(headers, body, chunk=65535):
    reader = MessageReader(lower_names(headers), ReaderOptions(tolerant=True))
    for at in range(0, len(body), chunk):
        reader.feed(body[at:at + chunk])
    return reader.finish()


@pytest.mark.parametrize("name", programs.OUTGOING)
def test_what_people_submit_passes_whatever_is_drawn(name):
    draw = random.Random(name)
    for _ in range(DRAWS):
        headers, body = programs.OUTGOING[name](draw, ARMORED)
        found = judge(headers, body)
        assert found.accepted, (found, headers)


@pytest.mark.parametrize("name", programs.INCOMING)
def test_what_arrives_passes_whatever_is_drawn(name):
    draw = random.Random(name)
    for _ in range(DRAWS):
        headers, body = programs.INCOMING[name](draw, ARMORED)
        assert read_incoming(headers, body) == ENCRYPTED, headers


@pytest.mark.parametrize("name", programs.INCOMING)
def test_it_passes_however_it_is_cut(name):
    headers, body = programs.INCOMING[name](random.Random(1), ARMORED)
    for chunk in (1, 2, 7, 61, 997):
        assert read_incoming(headers, body, chunk) == ENCRYPTED


@pytest.mark.parametrize("name", sorted(programs.INCOMING.keys() - programs.OUTGOING.keys()))
def test_what_only_others_write_is_not_submitted(name):
    headers, body = programs.INCOMING[name](random.Random(1), ARMORED)
    assert not judge(headers, body).accepted


NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters='"\\@<>'),
                max_size=30)
LOCAL_PARTS = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-_", min_size=1, max_size=30).map(
    lambda text: text.strip(".-_") or "x").filter(lambda text: ".." not in text)
RECIPIENTS = st.lists(LOCAL_PARTS.map(lambda local: local + "@example.org"), max_size=40)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(programs.OUTGOING)), st.integers(0, 1 << 60), NAMES, RECIPIENTS,
       st.integers(0, 5), st.sampled_from(sorted(goodmessages.KEYS)), st.integers(1, 5000))
def test_any_genuine_message_passes(program, seed, name, recipients, relays, key, chunk):
    """For any boundary, name, date, key and number of recipients of the kinds a program draws."""
    armored = attacks.armor(goodmessages.KEYS[key] + attacks.seipd())
    headers, body = programs.OUTGOING[program](random.Random(seed), armored)
    address = attacks.replaced("From", b'"%s" <%s>' % (name.encode(), ALICE.encode()), headers)
    to = ", ".join(f'"{name}" <{to}>' for to in recipients) or '"hidden-recipients": ;'
    named = [goodmessages.relays(relays)] if relays else []
    own = goodmessages.public_key(b"<alice@chat.test>", *named)
    headers = [*attacks.replaced("To", to.encode(), address),
               ("Autocrypt", goodmessages.autocrypt(own))]
    if "Autocrypt" in dict(address):
        headers.pop()
    found = judge(headers, body, chunk, recipients=recipients)
    budget = DOMAIN.max_header_text + 64 * len(recipients)
    assert found.accepted or (found.reason == "header-text" and len(to) > budget // 2), found


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(programs.INCOMING)), st.integers(0, 1 << 60),
       st.integers(0, 3000), st.binary(min_size=1, max_size=60), st.integers(1, 900))
def test_the_verdict_does_not_depend_on_where_chunks_are_cut(program, seed, at, inserted, chunk):
    headers, body = programs.INCOMING[program](random.Random(seed), ARMORED)
    changed = body[:at] + inserted + body[at:]
    assert read_incoming(headers, changed, chunk) == read_incoming(headers, changed)
