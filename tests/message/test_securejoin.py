"""A securejoin request has no room for text from outside either, in what programs look at."""

import attacks
import pytest

from chatmaild.message.reader import ContentKind, MessageReader, ReaderOptions, lower_names

KEYS = ("securejoin, much in a key",)       # of incoming mail no key is looked into
ROWS = [row for row in attacks.unencrypted() if row[0].startswith(("securejoin", "text and"))
        and row[0] not in KEYS]


@pytest.mark.parametrize("name, headers, body", ROWS, ids=[row[0] for row in ROWS])
def test_no_text_comes_with_a_request(name, headers, body):
    reader = MessageReader(lower_names(headers), ReaderOptions(tolerant=True))
    reader.feed(body)
    assert reader.finish().kind is ContentKind.CLEARTEXT
