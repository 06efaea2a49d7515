"""Files of the host, and the directories that have to be made for them."""

import resource

import pytest

from chatmaild.admin.wiring import hostfiles
from chatmaild.admin.wiring.steps import WiringError


def test_directories_that_were_made_go_again(tmp_path):
    files = {f"{tmp_path}/{name}/unit.d/x.conf": b"x\n" for name in ("one", "two")}
    files[f"{tmp_path}/removed/x.conf"] = None
    made = hostfiles.missing_directories(files)
    assert made == [f"{tmp_path}/{name}" for name in ("one", "one/unit.d", "two", "two/unit.d")]
    hostfiles.write(files)
    assert hostfiles.missing_directories(files) == []
    assert hostfiles.remove_empty(made) == tuple(made)
    hostfiles.write(dict.fromkeys(files))
    (tmp_path / "two/unit.d/somebody.conf").touch()
    assert hostfiles.remove_empty(made) == (f"{tmp_path}/two", f"{tmp_path}/two/unit.d")
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "main.cf"
    path.write_text("biff = no\n")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(WiringError, match="main.cf: File too large"):
            hostfiles.write({str(path): b"#" * 2000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_text() == "biff = no\n" and list(tmp_path.iterdir()) == [path]
