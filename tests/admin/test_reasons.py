"""Every reason code of the rules is explained, in `filter-test` and in doc/reasons.md alike."""

import ast
import os
import re
from pathlib import Path

import pytest

from chatmaild.accounts import signup
from chatmaild.admin import reasons
from chatmaild.message import packets
from chatmaild.message.reader import ContentKind

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src/chatmaild"
DOCUMENT = ROOT / "doc/reasons.md"
FILES = [*(SRC / "message").glob("*.py"), *(SRC / "filter").glob("*.py"),
         SRC / "dkim/verification.py"]
CODE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
GIVERS = {"Refusal", "Verdict", "invalid", "Authenticity", "check_parameters", "decode", "__init__"}
"""Calls that are handed a code."""

NO_CODES = {"utf-8", "surrogateescape", "ascii", "latin-1", "big", "little", "replace", "charset",
            "boundary", "protocol", "utf-7"}
"""Other words among the arguments of such calls; those of them that are codes stand elsewhere too.
"""


def literal_codes(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in GIVERS:
                found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
                found |= {choice.value for arg in node.args if isinstance(arg, ast.IfExp)
                          for choice in (arg.body, arg.orelse) if isinstance(choice, ast.Constant)}
        elif isinstance(node, ast.FunctionDef) and node.name.endswith("_fault"):
            found |= {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)
                      and str(part.value).startswith("report-") and part.value != "report-type"}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in (
                "_NOT_THE_TEXT", "accepted"):
            found |= {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
    return {code for code in found if isinstance(code, str) and CODE.fullmatch(code)} - NO_CODES


CODES = set().union(*map(literal_codes, FILES))
CODES |= {kind.value for kind in ContentKind} | {reason.value for reason in signup.Denial}
CODES |= {f"packet-{name}" for name in (*packets.NAMES.values(), "unknown")}
CODES |= {"boundary", "protocol", "content-type-twice", "content-transfer-encoding-twice"}


def known() -> dict[str, reasons.Reason]:
    return {code: reason for section in reasons.SECTIONS.values()
            for code, reason in section.items()}


def test_every_code_is_explained():
    assert sorted(CODES - known().keys()) == []


def test_no_code_is_explained_that_is_not_there():
    assert sorted(known().keys() - CODES) == []


def test_no_code_is_explained_twice():
    assert len(known()) == sum(map(len, reasons.SECTIONS.values()))


@pytest.mark.parametrize("code", sorted(known()))
def test_a_meaning_is_one_sentence(code):
    reason = known()[code]
    for text in (reason.meaning, reason.advice):
        assert text.endswith((".", "%")) and "\n" not in text and "|" not in text
    assert reason.meaning.count(". ") == 0


def document() -> str:
    lines = ["# Reason codes", "",
             "What stands behind `reason=` in the log and in the answer of `chatmaild",
             "filter-test`, which also prints the meaning.", ""]
    for title, section in reasons.SECTIONS.items():
        lines += [f"## {title}", "", "| reason | meaning | the sender sees | the admin |",
                  "|---|---|---|---|"]
        lines += [f"| {code} | {reason.meaning} | {reason.sees} | {reason.advice} |"
                  for code, reason in section.items()]
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def test_the_document_says_the_same():
    """Write it anew with: WRITE_REASONS=1 pytest tests/admin/test_reasons.py"""
    if "WRITE_REASONS" in os.environ:
        DOCUMENT.write_text(document())
    assert DOCUMENT.read_text() == document()


@pytest.mark.parametrize("code, meaning", [
    ("too-fast", known()["too-fast"].meaning),
    ("encrypted would-refuse=no-key",
     known()["encrypted"].meaning + " " + known()["no-key"].meaning),
    ("no such code", ""), ("", ""),
])
def test_what_stands_in_the_log_is_explained(code, meaning):
    assert reasons.explain(code) == meaning
