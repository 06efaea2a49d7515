"""Files larger than the limits that hosts come with, where an admin has raised them."""

import os

import pytest

LIMIT = 64 << 20
"""Octets. A file grows by four fifths on its way: it is base64 twice."""


@pytest.fixture
def people(hosts, core):
    for key in ("one", "two"):
        hosts[key].take_messages_of(LIMIT)
    return [core.onboard(hosts[key].site.chat_domain, name=key) for key in ("one", "two")]


def test_a_file_of_25_mb(people, tmp_path):
    sender, receiver = people
    receiver.meet(sender)
    path = tmp_path / "film.bin"
    path.write_bytes(os.urandom(25_000_000))
    sender.send(sender.chat_with(receiver), "the film", path)
    receiver.receive_file(receiver.chat_with(sender), path.read_bytes())
