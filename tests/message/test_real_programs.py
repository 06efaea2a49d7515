"""What mail programs of Debian write passes, as they wrote it."""

import os
import random
import re
from pathlib import Path

import programs
import pytest
import realprograms
from openpgpmessages import gpg_symmetric
from outgoingrules import judge

from chatmaild.message.reader import ContentKind, MessageReader, ReaderOptions, lower_names


@pytest.mark.parametrize("name", realprograms.PROGRAMS)
def test_what_a_program_writes_passes(name):
    try:
        messages = realprograms.PROGRAMS[name](3)
    except realprograms.Missing as missing:
        assert "CI" not in os.environ, f"{missing} is not installed"
        pytest.skip(f"needs {missing}")
    assert len(set(messages)) == 3
    for headers, body in map(realprograms.split, messages):
        assert_passes(headers, body, outgoing=name in realprograms.OUTGOING)
        if name in programs.OUTGOING:
            assert form(headers, body) in drawn_forms(name)


def assert_passes(headers, body, outgoing=True):
    reader = MessageReader(lower_names(headers), ReaderOptions(tolerant=True))
    reader.feed(body)
    assert reader.finish().kind is ContentKind.ENCRYPTED
    if outgoing:
        found = judge(headers, body)
        assert found.accepted, found


WRITTEN = Path(__file__).parents[1] / "data/programs"
"""NAME-N.eml, by programs of Debian 12: Sylpheed 3.8.0beta1 and Claws Mail 4.1.1 as they gave them
to an SMTP server, but for the host's name in Message-ID; and what Camel 3.46.4, the library of
Evolution, makes when its headers are set."""


@pytest.mark.parametrize("path", sorted(WRITTEN.iterdir()), ids=lambda path: path.stem)
def test_what_a_program_once_wrote_passes(path):
    assert_passes(*realprograms.split(path.read_bytes()))


def form(headers, body):
    """What is always the same in such a message, and how long the boundary is."""
    kind, = (value for name, value in headers if name.lower() == "content-type")
    boundary = re.search(rb'boundary="(.*?)"', kind)[1]
    body = re.sub(rb"(?s)-----BEGIN.*END PGP MESSAGE-----\r\n", b"ARMORED", body)
    return len(boundary), kind.replace(boundary, b"B"), body.replace(boundary, b"B")


def drawn_forms(name):
    return {form(*programs.OUTGOING[name](random.Random(seed), gpg_symmetric(400)))
            for seed in range(200)}


@pytest.mark.parametrize("path", sorted(WRITTEN.iterdir()), ids=lambda path: path.stem)
def test_its_form_is_among_those_that_are_drawn(path):
    written = form(*realprograms.split(path.read_bytes()))
    assert written in drawn_forms(path.stem.partition("-")[0])
