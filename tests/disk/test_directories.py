"""A tree is removed as a whole, never through a link; what cannot be removed stays, and counts."""

import errno
import os
import subprocess

import pytest

from chatmaild.disk import directories


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").touch()
    home = tmp_path / "home"
    for name in "cur", "new", ".Folder/cur":
        (home / name).mkdir(parents=True)
        (home / name / "message").touch()
    (home / "link").symlink_to(tmp_path / "outside")
    return home


def test_a_tree_is_removed_and_what_its_links_lead_to_stays(tree):
    assert directories.remove_tree(str(tree))
    assert not tree.exists() and (tree.parent / "outside/kept").exists()


def test_what_is_gone_is_removed(tree):
    assert directories.remove_tree(str(tree / "nothing"))
    assert directories.is_removable(str(tree / "nothing"))


def test_a_link_in_place_of_the_tree_is_not_followed(tree):
    assert not directories.remove_tree(str(tree / "link"))
    assert (tree.parent / "outside/kept").exists()


@pytest.mark.parametrize("times, is_gone", [(1, True), (100, False)])
def test_a_directory_that_fills_up_meanwhile_is_tried_again_and_not_for_ever(
        tree, monkeypatch, times, is_gone):
    rmdir, left = os.rmdir, [times]

    def filling(name, **options):
        if name == str(tree) and left[0]:
            left[0] -= 1
            (tree / f"arrived{left[0]}").touch()
        rmdir(name, **options)

    monkeypatch.setattr(os, "rmdir", filling)
    assert directories.remove_tree(str(tree)) is is_gone
    assert tree.exists() is not is_gone


def test_what_cannot_be_removed_stays_and_everything_beside_it_goes(tree, monkeypatch):
    unlink = os.unlink

    def refusing(name, **options):
        if os.readlink(f"/proc/self/fd/{options['dir_fd']}").endswith(".Folder/cur"):
            raise PermissionError(errno.EPERM, "immutable")
        unlink(name, **options)

    monkeypatch.setattr(os, "unlink", refusing)
    assert not directories.remove_tree(str(tree))
    assert [str(path.relative_to(tree)) for path in sorted(tree.rglob("*"))] == [
        ".Folder", ".Folder/cur", ".Folder/cur/message"]


def test_a_tree_deeper_than_any_mailbox_is_left_and_not_an_error(tmp_path):
    parent = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=parent)
        child = os.open("d", os.O_RDONLY, dir_fd=parent)
        os.close(parent)
        parent = child
    os.close(parent)
    assert not directories.is_removable(str(tmp_path / "d"))
    assert not directories.remove_tree(str(tmp_path / "d"))
    subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)


def test_only_an_empty_directory_is_removed_as_empty(tree):
    (tree / "empty").mkdir()
    with directories.opened(str(tree)) as home:
        assert directories.remove_empty("empty", home)
        assert directories.remove_empty("empty", home), "gone is fine"
        assert not directories.remove_empty("cur", home)
        with pytest.raises(NotADirectoryError):
            directories.remove_empty("link", home)
