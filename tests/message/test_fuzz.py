"""A minute of coverage-guided fuzzing, seeded with good messages and attacks."""

import os
import subprocess
import sys
from pathlib import Path

import attacks
import goodmessages
import pytest
from openpgpmessages import BOUNDARY

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))


@pytest.mark.fuzz
def test_a_minute_of_fuzzing_finds_nothing(tmp_path):
    python = os.environ.get("ATHERIS_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import atheris"], stderr=subprocess.DEVNULL).returncode:
        assert "CI" not in os.environ, "no atheris; ATHERIS_PYTHON may name a Python with it"
        pytest.skip("needs atheris")
    for number, (_, _, body) in enumerate([*goodmessages.table(), *attacks.table()]):
        if len(body) < 5000:
            seed = b"\1\x40" + body.replace(BOUNDARY.encode(), b"b").replace(b"--xyz", b"--b")
            (tmp_path / str(number)).write_bytes(seed)
    done = subprocess.run(
        [python, ROOT / "tests/fuzz/message.py", f"-max_total_time={SECONDS}", "-max_len=6000",
         f"-artifact_prefix={tmp_path}/found-", tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
