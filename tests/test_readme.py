"""README.md fits on two screens, and leads only to what is there."""

import re
from pathlib import Path

TREE = Path(__file__).parents[1]
LINES = (TREE / "README.md").read_text().splitlines()

MAX_LINES, MAX_COLUMNS = 120, 100


def test_it_is_short():
    assert len(LINES) <= MAX_LINES
    assert [line for line in LINES if len(line) > MAX_COLUMNS] == []


def test_every_file_that_it_names_is_there():
    named = set(re.findall(r"[A-Za-z0-9-]+\.md", "\n".join(LINES)))
    assert named and {name for name in named
                      if not ((TREE / name).exists() or (TREE / "doc" / name).exists())} == set()


def test_it_installs_in_six_steps():
    assert [line[0] for line in LINES if re.match(r"\d\. ", line)] == list("123456")
