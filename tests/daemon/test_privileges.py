"""What a process of root's gives up."""

import os
import pwd

from chatmaild.daemon import privileges


def test_libraries_look_for_their_files_in_the_home_of_the_new_user(monkeypatch):
    done = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *arguments: done.append(arguments))
    monkeypatch.setenv("HOME", "/root")
    nobody = pwd.getpwnam("nobody")
    privileges.become("nobody")
    assert os.environ["HOME"] == nobody.pw_dir
    assert done == [("nobody", nobody.pw_gid), (nobody.pw_gid,), (nobody.pw_uid,)]
