"""What services say in the log, and how they call an address there."""

import os
import subprocess
import sys
from pathlib import Path

from chatmaild.daemon import logs

SRC = Path(__file__).parents[2] / "src"


def test_a_label_hides_an_address_and_tells_addresses_apart():
    label = logs.AddressLabel(plain=False)
    assert "anna" not in label("anna@chat.example.org")
    assert label("anna@chat.example.org") == label("ANNA@chat.example.org")
    assert label("anna@chat.example.org") != label("bert@chat.example.org")
    assert label("anna@chat.example.org") != logs.AddressLabel(False)("anna@chat.example.org")


def test_a_plain_label_cannot_forge_a_log_line():
    label = logs.AddressLabel(plain=True)
    assert label("anna@chat.example.org") == "anna@chat.example.org"
    assert "\n" not in label("anna\nINFO all is well")
    assert label("\udcff").isascii()


def test_every_line_for_the_journal_has_its_level():
    program = """
import logging
from chatmaild.daemon import logs
logs.setup("chatmaild-test")
logging.error("first\\nsecond")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(SRC), "JOURNAL_STREAM": "8:1"})
    assert done.stderr == "<3>first\n<3>second\n"


def test_the_place_of_an_error_does_not_quote_it():
    try:
        {}["secret"]
    except KeyError as error:
        assert logs.place(error).startswith(f"KeyError in {__file__}:")
    assert logs.place(KeyError("secret")) == "KeyError"
