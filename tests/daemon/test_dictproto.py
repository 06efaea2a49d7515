"""Invariant: whatever bytes come, each line is one value, however the bytes were cut."""

import tracemalloc

import pytest
from hypothesis import given, settings, strategies as st

from chatmaild.daemon import dictproto
from chatmaild.daemon.dictproto import (
    FAILURE, NOT_FOUND, Begin, Change, Commit, Hello, Iterate, LineReader, Lookup, Malformed,
    Rollback, Unsupported,
)


@pytest.mark.parametrize("line, request_", [
    (b"H3\t2\t0\t\tauth", Hello(3, b"", b"auth")),
    (b"H4\t0\t\t192.0.2.1\tauth", Hello(4, b"192.0.2.1", b"auth")),
    (b"H2\t2", Hello(2)),
    (b'Lshared/passdb/pw"me@d\tme@d', Lookup(b'shared/passdb/pw"me@d', b"me@d")),
    (b"Lshared/userdb/me@d", Lookup(b"shared/userdb/me@d")),
    (b"La\x01tb\x011c\x010\x01n\x01r\tme", Lookup(b"a\tb\x01c\0\n\r", b"me")),
    (b"I0\t0\tshared/userdb/\t*", Iterate(b"shared/userdb/", 0, b"*")),
    (b"I1\t20\tshared/userdb/", Iterate(b"shared/userdb/", 20)),
    (b"B1\tme@d", Begin(b"1", b"me@d")),
    (b"B12\tme@d\t0", Begin(b"12", b"me@d")),
    (b"S1\tkey\tvalue", Change(b"1", b"key", b"value")),
    (b"S1\tkey\t", Change(b"1", b"key", b"")),
    (b"U1\tkey", Change(b"1", b"key", None)),
    (b"C1", Commit(b"1")),
    (b"D1", Commit(b"1", asynchronous=True)),
    (b"R1", Rollback(b"1")),
    (b"A1\tkey\t3", Unsupported(b"1")),
    (b"S1\tkey", Unsupported(b"1")),
    (b"L", Malformed(NOT_FOUND)),
    (b"I", Malformed(FAILURE)),
    (b"I0\tmany\tpath", Malformed(FAILURE)),
    (b"C", Malformed(FAILURE)),
    (b"C\xb2", Malformed(FAILURE)),
    (b"C" + b"1" * 21, Malformed(FAILURE)),
    (b"Bx\tme", Malformed(b"")),
    (b"Hx", Malformed(b"")),
    (b"", None),
    (b"X1\tsecret", None),
    (b"\xff", None),
])
def test_what_a_line_means(line, request_):
    assert dictproto.parse(line) == request_


@pytest.mark.parametrize("text, pair", [
    (b'secret"me@d', (b"secret", b"me@d")),
    (b'"me@d', (b"", b"me@d")),
    (rb'a\"b\\c\'d"me', (b"a\"b\\c'd", b"me")),
    (b'p"', (b"p", b"")),
    (b"p/\xff\t\"\xe9", (b"p/\xff\t", b"\xe9")),
    (b"no quote", None),
    (b'a"b"c', None),
    (rb'secret\"me', None),
    (b'p"me\\', None),
    (b'\\\n"me', (b"\n", b"me")),
])
def test_splitting_password_and_user(text, pair):
    assert dictproto.split_credentials(text) == pair


def test_answers():
    assert dictproto.found(b"a\tb\n\1\0\r") == b"Oa\1tb\1n\0011\0010\1r\n"
    assert dictproto.row(b"shared/userdb/me", b"") == b"Oshared/userdb/me\t\n"
    assert dictproto.commit_answer(Commit(b"7"), dictproto.COMMITTED) == b"O\n"
    assert dictproto.commit_answer(Commit(b"7", True), dictproto.FAILURE) == b"AF7\n"


def read(reader, chunks):
    requests = []
    for chunk in chunks:
        reader.feed(chunk)
        while True:
            complete, request = reader.next_request()
            if not complete:
                break
            requests.append(request)
    return requests


@given(st.binary())
def test_escaping_is_undone(data):
    escaped = dictproto.escape(data)
    assert dictproto.unescape(escaped) == data
    assert not set(escaped) & set(b"\0\t\r\n")


@given(st.binary(), st.binary())
def test_credentials_survive_dovecots_escaping(password, user):
    def quote(text):
        for character in (b"\\", b'"', b"'"):
            text = text.replace(character, b"\\" + character)
        return text

    assert dictproto.split_credentials(quote(password) + b'"' + quote(user)) == (password, user)


LINE = st.one_of(
    st.binary(max_size=30),
    st.builds(lambda c, f: c + b"\t".join(f), st.sampled_from([bytes([b]) for b in b"HLIBSUCDRAP"]),
              st.lists(st.one_of(st.just(b"1"), st.binary(max_size=8)), max_size=5)),
)


@settings(max_examples=300)
@given(st.lists(LINE, max_size=12).map(b"\n".join), st.lists(st.integers(0, 200), max_size=8))
def test_the_cuts_do_not_matter(stream, cuts):
    """Whatever bytes come, each line is one value, however the bytes were cut."""
    whole = read(LineReader(20), [stream])
    assert len(whole) == stream.count(b"\n")
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    assert read(LineReader(20), [stream[a:b] for a, b in zip(edges, edges[1:])]) == whole
    assert read(LineReader(20), [stream[n:n + 1] for n in range(len(stream))]) == whole


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_a_line_without_end_is_not_kept(size):
    reader = LineReader()
    tracemalloc.start()
    try:
        for _ in range(1 + 200_000 // size):
            reader.feed(b"L" * size)
            assert reader.next_request() == (False, None)
        assert tracemalloc.get_traced_memory()[0] < dictproto.MAX_LINE + 10_000
    finally:
        tracemalloc.stop()
    assert read(reader, [b"\nC1\n"]) == [Malformed(NOT_FOUND), Commit(b"1")]


def test_the_longest_line():
    line = b"L" + b"x" * (dictproto.MAX_LINE - 1)
    assert read(LineReader(), [line + b"\n"]) == [Lookup(line[1:])]
    assert read(LineReader(), [line + b"x\n"]) == [Malformed(NOT_FOUND)]


@pytest.mark.parametrize("head, request_", [
    (b"S1\tkey\t", Unsupported(b"1")),
    (b"S" + b"1" * dictproto.MAX_ID + b"\tkey\t", Unsupported(b"1" * dictproto.MAX_ID)),
    (b"B7\t", Unsupported(b"7")),
    (b"S" + b"1" * (dictproto.MAX_ID + 1) + b"\tkey\t", Malformed(b"")),
    (b"C1\t", Malformed(FAILURE)),
    (b"X1\t", Malformed(b"")),
])
@pytest.mark.parametrize("cut", [1, 1000, 1 << 20])
def test_of_a_line_too_long_the_transaction_is_known(head, request_, cut):
    stream = head + b"x" * dictproto.MAX_LINE + b"\nLa\n"
    chunks = [stream[n:n + cut] for n in range(0, len(stream), cut)]
    assert read(LineReader(), chunks) == [request_, Lookup(b"a")]
