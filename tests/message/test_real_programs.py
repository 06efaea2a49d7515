"""What mail programs of Debian write passes, as they wrote it."""

import os

import pytest
import realprograms
from outgoingrules import judge

from chatmaild.message.reader import Kind, Limits, MessageReader, lower_names


@pytest.mark.parametrize("name", realprograms.PROGRAMS)
def test_what_a_program_writes_passes(name):
    try:
        messages = realprograms.PROGRAMS[name](3)
    except realprograms.Missing as missing:
        assert "CI" not in os.environ, f"{missing} is not installed"
        pytest.skip(f"needs {missing}")
    assert len(set(messages)) == 3
    for headers, body in map(realprograms.split, messages):
        reader = MessageReader(lower_names(headers), Limits(tolerant=True))
        reader.feed(body)
        assert reader.finish().kind is Kind.ENCRYPTED
        if name in realprograms.OUTGOING:
            found = judge(headers, body)
            assert found.accepted, found
