"""Files of the host, and the directories that have to be made for them."""

from chatmaild.admin.wiring import hostfiles


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
