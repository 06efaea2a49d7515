"""``chatmaild configtest``, as an admin and as systemd call it."""

import json

import pytest

from chatmaild import cli


@pytest.fixture
def configtest(tmp_path, capsys):
    ini, copy = tmp_path / "chatmaild.ini", tmp_path / "last-good.ini"

    def call(content, *arguments):
        ini.write_text(content)
        code = cli.main(["-c", str(ini), "--last-good", str(copy), "configtest", *arguments])
        return code, *capsys.readouterr(), copy.exists()

    return call


GOOD = "[chatmaild]\nmail_domains = a.example b.example\n"
BROKEN = "[chatmaild]\nmail_domain = a.example\nsignup = never\n"


def test_a_file_in_order(configtest):
    code, out, err, is_kept = configtest(GOOD)
    assert (code, err, is_kept) == (0, "", False)
    assert out.endswith("in order, for a.example, b.example\n")


def test_a_broken_file_is_2_with_every_mistake(configtest):
    code, out, err, is_kept = configtest(BROKEN, "--keep")
    assert (code, out, is_kept) == (2, "", False)
    assert "ini:2: mail_domain" in err and "ini:3: signup = never" in err


def test_before_a_reload_it_keeps_a_copy_and_says_nothing(configtest):
    assert configtest(GOOD, "--keep", "--quiet") == (0, "", "", True)


def test_a_copy_that_cannot_be_kept_is_no_mistake_in_the_file(configtest, tmp_path):
    (tmp_path / "last-good.ini").mkdir()
    code, _, err, _ = configtest(GOOD, "--keep")
    assert code == 0 and "last-good.ini" in err


@pytest.mark.parametrize("content, ok, mistakes", [(GOOD, True, 0), (BROKEN, False, 2)])
def test_for_programs(configtest, content, ok, mistakes):
    _, out, _, _ = configtest(content, "--json")
    document = json.loads(out)
    assert document["ok"] is ok and len(document["problems"]) == mistakes
