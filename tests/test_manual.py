"""The manual is whole: chatmaild.ini and chatmaild.ini(5) document every key, with its default."""

import re
from pathlib import Path

import pytest

from chatmaild import __version__
from chatmaild.config.config import DOMAIN_KEYS, HOST_KEYS
from chatmaild.config.inifile import parse

DOC = Path(__file__).parent.parent / "doc"
DEFAULT_INI = DOC / "chatmaild.ini"

DOMAIN_HEADING_INI = "# ---- Keys that a chat domain may override"
DOMAIN_HEADING_MAN = ".SH KEYS THAT A CHAT DOMAIN MAY OVERRIDE"


def defaults(keys):
    return {name: field.metadata["default"] for name, field in keys.items()}


def documented_in_ini():
    """Host keys and domain keys of the annotated default: name -> value shown."""
    before, heading, after = DEFAULT_INI.read_text().partition(DOMAIN_HEADING_INI)
    assert heading
    return tuple(
        {key: value.strip() for key, value in re.findall(r"^#?(\w+) =(.*)$", part, re.MULTILINE)}
        for part in (before, after)
    )


def documented_in_manual():
    """Host keys and domain keys of the manual page: name -> default shown."""
    text = (DOC / "chatmaild.ini.5").read_text().replace("\\-", "-")
    before, heading, after = text.partition(DOMAIN_HEADING_MAN)
    assert heading
    entry = re.compile(r"^\.TP\n\\fB(\w+)\\fR \(default: (.*)\)$", re.MULTILINE)
    return tuple(
        {key: "" if value == "empty" else value for key, value in entry.findall(part)}
        for part in (before, after)
    )


@pytest.mark.parametrize("documented", [documented_in_ini, documented_in_manual])
def test_documents_every_key_with_its_default_and_no_other(documented):
    host, domain = documented()
    assert host == defaults(HOST_KEYS)
    assert domain == defaults(DOMAIN_KEYS)


def test_each_key_is_documented_once():
    for text, pattern in (
        (DEFAULT_INI.read_text(), r"^#?(\w+) ="),
        ((DOC / "chatmaild.ini.5").read_text(), r"^\\fB(\w+)\\fR \(default:"),
    ):
        keys = re.findall(pattern, text, re.MULTILINE)
        assert len(keys) == len(set(keys))


def test_annotated_default_is_valid_and_changes_nothing():
    raw = DEFAULT_INI.read_bytes()
    written = parse(raw, DEFAULT_INI)
    uncommented = re.sub(rb"^#(\w+ =)", rb"\1", raw, flags=re.MULTILINE)
    assert written == parse(b"[chatmaild]\n", DEFAULT_INI) == parse(uncommented, DEFAULT_INI)
    assert written.domains == {}


def test_examples_of_the_manual_are_valid():
    text = (DOC / "chatmaild.ini.5").read_text()
    examples = re.findall(r"^\.EX\n(.*?)^\.EE$", text, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        assert parse(example.replace("\\-", "-").encode(), Path("example")).domains


@pytest.mark.parametrize("page", sorted(DOC.glob("*.[58]")), ids=lambda page: page.name)
def test_page_names_itself_and_this_version(page):
    """`.TH NAME SECTION DATE "chatmaild VERSION" "chatmaild"`, or mdoc's .Dt and .Os."""
    text = page.read_text()
    name, section = page.stem, page.suffix[1:]
    assert re.search(rf'^\.(TH|Dt) "?{re.escape(name)}"? {section}\b', text, re.M | re.I)
    assert __version__ in text


def test_each_promise_of_the_threat_model_links_to_a_test_that_exists():
    text = (DOC / "threat-model.md").read_text()
    links = re.findall(r"\[(test_\w+)\]\((\S+)\)", text)
    for name, path in links:
        assert f"\ndef {name}(" in (DOC / path).read_text(), f"{path}: {name}"
    promises = text.partition("## What we promise")[2].partition("\n## ")[0].split("\n- ")[1:]
    assert len(promises) > 15
    assert not [promise for promise in promises if "](../tests/" not in promise]
    assert text.count("test_") == 2 * len(links), "a test is named that is no link"
