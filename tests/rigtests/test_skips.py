"""A skipped test fails where CI=true, whoever skips it and when."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rig import skips

TESTS = '''
import pytest

@pytest.fixture
def missing():
    pytest.skip("needs a server")

@pytest.mark.skip(reason="needs a day off")
def test_marked(): pass
def test_in_a_fixture(missing): pass
def test_in_itself(): pytest.importorskip("nothing_of_this_name")
def test_of_the_machine(): pytest.skip("no IPv6")
def test_good(): pass
@pytest.mark.xfail
def test_known(): assert False
'''
MODULE = 'import pytest\npytest.importorskip("nothing_of_this_name")\ndef test(): pass\n'


@pytest.mark.parametrize("text, ci, said", [
    (TESTS, "true", ["1 failed", "2 errors", "1 passed", "1 skipped", "1 xfailed", "a server"]),
    (TESTS, "", ["1 passed", "4 skipped", "1 xfailed"]),
    (MODULE, "true", ["1 error", "nothing_of_this_name"]),
    (MODULE, "", ["1 skipped"]),
], ids=["tests-ci", "tests", "module-ci", "module"])
def test_a_skip_is_a_failure_in_ci_and_nowhere_else(tmp_path, text, ci, said):
    (tmp_path / "test_example.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "rig.skips", "-p", "no:cacheprovider",
         "test_example.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"CI": ci, "PYTHONPATH": str(Path(skips.__file__).parents[1])})
    assert [words for words in said if words not in done.stdout] == [], done.stdout
