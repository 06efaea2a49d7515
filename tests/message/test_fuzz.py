"""A minute of coverage-guided fuzzing, seeded with good messages and attacks."""

import os
import random
import re
import subprocess
from pathlib import Path

import attacks
import goodmessages
import programs
import pytest

ROOT = Path(__file__).parents[2]
BOUNDARIES = re.compile(rb'boundary="?([^\s";]+)')
SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))


def fuzzer() -> str:
    """A Python with atheris: ATHERIS_PYTHON, or the one of tests/rig/venv."""
    if named := os.environ.get("ATHERIS_PYTHON"):
        return named
    done = subprocess.run([ROOT / "tests/rig/venv", "fuzzer"], text=True, capture_output=True)
    if done.returncode:
        text = f"needs atheris: {done.stderr.strip().rpartition(chr(10))[2]}"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    return f"{done.stdout.strip()}/bin/python"


@pytest.mark.fuzz
def test_a_minute_of_fuzzing_finds_nothing(tmp_path):
    python = fuzzer()
    armored = goodmessages.armor(b"".join(attacks.GOOD_PACKETS)).replace(b"\r\n", b"\n")
    incoming = [program(random.Random(1), armored) for program in programs.INCOMING.values()]
    rows = [(h, b) for _, h, b in [*goodmessages.table(), *attacks.table()]] + incoming
    for number, (headers, body) in enumerate(rows):
        if len(body) < 5000:
            boundary = BOUNDARIES.search(dict(headers).get("Content-Type") or b"")
            text = body.replace(boundary[1], b"b") if boundary else body
            (tmp_path / str(number)).write_bytes(b"\1\xc0" + text)
    done = subprocess.run(
        [python, ROOT / "tests/fuzz/message.py", f"-max_total_time={SECONDS}", "-max_len=6000",
         f"-artifact_prefix={tmp_path}/found-", tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
