"""The file of an export is whole, or there is none."""

import subprocess
import sys
from pathlib import Path

import pytest
from rig.until import until

import chatmaild
from chatmaild.admin.accounts import newfile
from chatmaild.errors import UsageError

WRITER = """
import os, sys, time
from chatmaild.admin.accounts import newfile
with newfile.created("archive") as out:
    out.write(b"half")
    if os.geteuid() == 0:
        os.setuid(65534)
    print("writing", flush=True)
    time.sleep(600)
"""


def test_a_whole_file_stays(tmp_path):
    path = tmp_path / "archive"
    with newfile.created(str(path)) as out:
        out.write(b"whole")
    assert path.read_bytes() == b"whole" and path.stat().st_mode & 0o777 == 0o600


def test_what_is_there_stays_as_it_is(tmp_path):
    path = tmp_path / "archive"
    path.write_text("older")
    for taken in (path, tmp_path, tmp_path / "missing" / "archive"):
        with pytest.raises(UsageError), newfile.created(str(taken)):
            pass
    assert path.read_text() == "older"


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_half_a_file_is_removed_when_we_are_killed(tmp_path, end):
    """Also from where we ourselves may remove nothing any more."""
    source = str(Path(chatmaild.__file__).parents[1])
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path, stdout=subprocess.PIPE,
                          env={"PYTHONPATH": source}) as writer:
        assert writer.stdout.readline() == b"writing\n" and (tmp_path / "archive").exists()
        getattr(writer, end)()
    until(lambda: not (tmp_path / "archive").exists(), "half a file to be removed")
