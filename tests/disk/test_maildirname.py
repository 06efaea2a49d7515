"""Maildir file names."""

import re

import pytest
from hypothesis import given, strategies as st

from chatmaild.disk import maildirname

names = st.lists(st.one_of(
    st.from_regex(r"\A[0-9]{10}\.M[0-9]{1,6}P[0-9]{1,5}\.h(,S=[0-9]{1,8})(,W=[0-9]{1,8})?"
                  r"(:2,[A-Z]{0,3})?\Z"),
    st.from_regex(r"\A[0-9]{9,11}\.[A-Z.,=\n0-9]{0,12}(,S=[0-9]{1,20}){0,2}[:\n]?\Z"),
    st.text(st.characters(blacklist_characters="/\0"), min_size=1, max_size=12),
), max_size=8, unique=True)


@pytest.mark.parametrize("name, saved, size", [
    ("1700000000.M12P34.host,S=1234,W=1260:2,FS", 1700000000, 1234),
    ("1700000000.M12P34.host,S=1234", 1700000000, 1234),
    ("1700000000.12345.host:2,S", 1700000000, None),
    ("1700000000.M1P1.host,S=0,W=0", 1700000000, 0),
    ("999999999.M1P2.host,S=1", 999999999, 1),
    ("0.M1P2.host,S=1", 0, 1),
    ("12.eml", None, None),
    ("17000000000.M1P2.host,S=9", None, 9),
    ("1700000000", None, None),
    ("-700000000.M1P2.host", None, None),
    ("١٧٠٠٠٠٠٠٠٠.M1P2.host,S=٥", None, None),
    (".nfs000001", None, None),
    ("1700000000.M1P2.host,W=5,S=7", 1700000000, None),
    ("1700000000.M1P2.host,S=" + "9" * 19, 1700000000, None),
])
def test_reads_time_and_size(name, saved, size):
    assert (maildirname.saved(name), maildirname.size(name)) == (saved, size)


@given(names)
def test_many_names_at_once_say_what_each_says(names):
    sizes = maildirname.sizes(names)
    if sizes is None:
        full = re.compile(r"[0-9]{10}\.[^\n,]*,S=[0-9]{1,18}(?:[,:][^\n]*)?")
        assert not all(map(full.fullmatch, names))
        return
    assert sizes == [maildirname.size(name) for name in names]
    assert None not in [maildirname.saved(name) for name in names]
    assert sorted(names) == sorted(names, key=lambda name: (maildirname.saved(name), name))


def test_names_as_dovecot_writes_them_are_read_at_once():
    names = [f"{1700000000 + n}.M{n}P9.host,S={n},W={n * 10}:2,S" for n in range(300)]
    names += [f"{1700000000 + n}.M{n}P9.host,S={n}" for n in range(300)]
    assert maildirname.sizes(names) == list(range(300)) * 2
    assert maildirname.total_size(names) == 299 * 300
    assert maildirname.sizes([]) == []
    assert maildirname.sizes([*names, "1700000000.M1P9.host"]) is None


def test_a_line_break_in_a_name_deceives_nobody():
    two_in_one = "1700000000.M1P2.h,S=1\n1700000000.M1P2.h,S=2"
    assert maildirname.sizes([two_in_one, "foreign"]) is None
