"""The contract of the command line: what is asked for is done, and the exit code tells how."""

import importlib
import os
import pwd
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from chatmaild import __version__, cli
from chatmaild.errors import ChatmaildError, ConfigError, UsageError

SRC = Path(__file__).parent.parent / "src"


@pytest.fixture
def command(monkeypatch):
    """Replaces all commands by one, ``try``, whose `run` is given."""

    def install(run):
        module = SimpleNamespace(
            configure=lambda parser: parser.add_argument("--json", action="store_true"), run=run)
        monkeypatch.setattr(cli, "COMMANDS", {"try": ("a.module", "try it")})
        monkeypatch.setattr(importlib, "import_module", lambda name: module)

    return install


def failing(error):
    def run(args, console):
        raise error
    return run


@pytest.mark.parametrize("run, code, text", [
    (lambda args, console: 0, 0, ""),
    (lambda args, console: 1, 1, ""),
    (failing(ConfigError(["x.ini:1: one", "x.ini:2: two"])), 2,
     "chatmaild: x.ini:1: one\nchatmaild: x.ini:2: two\n"),
    (failing(UsageError("not like this")), 2, "chatmaild: not like this\n"),
    (failing(ChatmaildError("the disk is full")), 1, "chatmaild: the disk is full\n"),
    (failing(KeyboardInterrupt()), 130, ""),
])
def test_exit_codes(command, capsys, run, code, text):
    command(run)
    assert cli.main(["try"]) == code
    assert capsys.readouterr().err == text


def test_a_mistake_of_ours_is_not_hidden(command):
    command(failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["try"])


@pytest.mark.parametrize("argv", [[], ["unknown"], ["try", "--unknown"], ["-c"]])
def test_wrong_usage_is_2(command, capsys, argv):
    command(lambda args, console: 0)
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2


@pytest.mark.parametrize("argv, environment, path", [
    (["try"], None, "/etc/chatmaild/chatmaild.ini"),
    (["try"], "/from/environment.ini", "/from/environment.ini"),
    (["-c", "/from/argument.ini", "try"], "/from/environment.ini", "/from/argument.ini"),
])
def test_which_configuration(command, monkeypatch, argv, environment, path):
    monkeypatch.delenv("CHATMAILD_CONFIG", raising=False)
    if environment:
        monkeypatch.setenv("CHATMAILD_CONFIG", environment)
    seen = []
    command(lambda args, console: seen.append(args.config) or 0)
    cli.main(argv)
    assert seen == [Path(path)]


def chatmaild(*arguments, **kwargs):
    return subprocess.run([sys.executable, "-m", "chatmaild", *arguments], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={"PYTHONPATH": str(SRC), "PATH": os.environ["PATH"]}, **kwargs)


def test_runs_from_a_checkout():
    assert chatmaild("--version").stdout == f"chatmaild {__version__}\n"


def test_help_names_every_command():
    text = chatmaild("--help").stdout
    for name in cli.COMMANDS:
        assert f"\n    {name} " in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name):
    done = chatmaild(name, "--help")
    assert done.returncode == 0
    assert f"usage: chatmaild {name}" in done.stdout


@pytest.mark.parametrize("name", ["doveauth", "lastlogin", "metadata", "filtermail", "expire"])
def test_a_broken_configuration_is_2_with_every_mistake(name, tmp_path):
    ini = tmp_path / "chatmaild.ini"
    ini.write_text("[chatmaild]\nmail_domain = a.example\ndelete_mails_after = soon\n")
    done = chatmaild("-c", str(ini), name, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{ini}:2: mail_domain: unknown key; did you mean mail_domains?" in done.stderr
    assert f"{ini}:3: delete_mails_after = soon" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("is_journal", [True, False])
def test_a_mistake_is_an_error_in_the_journal_and_only_there(tmp_path, is_journal):
    with open(tmp_path / "stderr", "w+") as stderr:
        info = os.fstat(stderr.fileno())
        stream = f"{info.st_dev}:{info.st_ino + (not is_journal)}"
        subprocess.run([sys.executable, "-m", "chatmaild", "-c", tmp_path / "none", "doveauth"],
                       env={"PYTHONPATH": str(SRC), "JOURNAL_STREAM": stream}, stderr=stderr)
        stderr.seek(0)
        assert stderr.read().startswith(f"{'<3>' * is_journal}chatmaild: {tmp_path}/none: No such")


@pytest.mark.parametrize("argument", ["--help", "--version"])
@pytest.mark.parametrize("output, said", [
    ("closed pipe", ""), ("/dev/full", "chatmaild: standard output: No space left on device\n")])
def test_help_that_nobody_reads_is_no_error_of_ours(argument, output, said):
    if output == "closed pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(output, os.O_WRONLY)
    with os.fdopen(writer) as stdout:
        done = subprocess.run([sys.executable, "-m", "chatmaild", argument], stdout=stdout,
                              env={"PYTHONPATH": str(SRC), "PATH": os.environ["PATH"]},
                              stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, said)


def test_ctrl_c_while_the_command_is_loaded(command, monkeypatch, capsys):
    command(lambda args, console: 0)

    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupted)
    assert cli.main(["try"]) == 130
    assert capsys.readouterr().err == ""


def shell(command, **kwargs):
    return subprocess.run(command.replace("chatmaild", f"{sys.executable} -m chatmaild", 1),
                          shell=True, env={"PYTHONPATH": str(SRC), "PATH": os.environ["PATH"]},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


@pytest.fixture
def ini(tmp_path):
    """A host with an account and a message that is due."""
    home = tmp_path / "mail/a.example/somebody1@a.example"
    (home / "cur").mkdir(parents=True)
    (home / "password").write_text("{PLAIN}secret\n")
    (home / "cur/1000000000.M1P1.host,S=1,W=1:2,").touch()
    (tmp_path / "ini").write_text(
        f"[chatmaild]\nmail_domains = a.example\nmailboxes_dir = {tmp_path}/mail\n"
        f"push = no\nmail_user = {pwd.getpwuid(os.getuid()).pw_name}\n")
    return tmp_path / "ini"


@pytest.mark.parametrize("arguments", [
    "accounts list", "accounts list --json", "expire -v", "expire --json", "report"])
def test_output_that_cannot_be_written_is_said_in_one_line(ini, arguments):
    done = shell(f"chatmaild -c {ini} {arguments} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "chatmaild: standard output: No space left on device\n"
    if "expire" in arguments:
        assert not [*ini.parent.rglob("1000000000.*")], "the work goes on"


@pytest.mark.parametrize("arguments, code", [
    ("accounts list", 0), ("accounts list b.example", 2), ("accounts list --unknown", 2),
    ("accounts show somebody2@a.example", 1), ("expire --quiet", 0), ("quota-expire 1 x", 2)])
def test_a_stderr_that_fails_changes_no_exit_code(ini, arguments, code):
    for stderr in ("2>&1", "2>/dev/full"):
        assert shell(f"chatmaild -c {ini} {arguments} {stderr}").returncode == code, stderr


@pytest.mark.parametrize("arguments", ["accounts list", "expire --quiet", "report"])
def test_without_standard_streams(ini, arguments):
    assert shell(f"chatmaild -c {ini} {arguments} <&- >&- 2>{ini}.err").returncode == 0
    assert Path(f"{ini}.err").read_text() == ""
    assert shell(f"chatmaild -c {ini} {arguments} <&- >&- 2>&-").returncode == 0
