"""A service that starts, or is reloaded, while chatmaild.ini is broken."""

import logging
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chatmaild.config import lastgood
from chatmaild.daemon.sighup import ConfigFile
from chatmaild.errors import ConfigError

SRC = Path(__file__).parents[2] / "src"
GOOD = "[chatmaild]\nmail_domains = chat.example\n"
BROKEN = "[chatmaild]\nmail_domain = chat.example\n"


@pytest.fixture
def ini(tmp_path):
    path = tmp_path / "chatmaild.ini"
    path.write_text(GOOD)
    lastgood.keep(path, tmp_path / "last-good.ini")
    return path


@pytest.fixture
def file(ini):
    return ConfigFile(ini, ini.parent / "last-good.ini")


def test_a_start_with_a_broken_file_is_loud(ini, file, caplog):
    ini.write_text(BROKEN)
    assert list(file.load().domains) == ["chat.example"]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert "did you mean mail_domains" in caplog.text and "last-good.ini" in caplog.text


def test_a_reload_with_a_broken_file_changes_nothing(ini, file, caplog):
    ini.write_text(BROKEN)
    file.reload(lambda config: pytest.fail("reloaded"))
    assert "on the former configuration" in caplog.text


def test_without_any_configuration_nothing_starts(ini, file):
    ini.write_text(BROKEN)
    (ini.parent / "last-good.ini").unlink()
    with pytest.raises(ConfigError):
        file.load()


@pytest.mark.parametrize("service", ["doveauth", "lastlogin", "recipients", "filtermail",
                                     "metadata", "notifier"])
def test_every_service_starts_from_the_last_good_configuration(ini, tmp_path, service):
    good = (GOOD + f"mailboxes_dir = {tmp_path}/mail\npush_tokens_dir = {tmp_path}/tokens\n"
                   f"push_queue_dir = {tmp_path}/queue\npush_metrics_file = {tmp_path}/prom\n")
    ini.write_text(good)
    lastgood.keep(ini, tmp_path / "last-good.ini")
    ini.write_text(BROKEN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        with subprocess.Popen(
                [sys.executable, "-m", "chatmaild", "-c", ini, "--last-good",
                 tmp_path / "last-good.ini", service, "--socket", f"unix:{tmp_path}/sock"],
                env={"PYTHONPATH": str(SRC), "NOTIFY_SOCKET": str(tmp_path / "notify")},
                stderr=subprocess.PIPE, text=True) as process:
            try:
                status = manager.recv(4096).decode()
                while manager.recv(4096) != b"READY=1":
                    pass
                ini.write_text(good)
                process.send_signal(signal.SIGHUP)
                while manager.recv(4096) != b"STATUS=":     # nothing to complain about any more
                    pass
            finally:
                process.terminate()
            log = process.communicate(timeout=60)[1]
    assert status.startswith("STATUS=on the last good configuration: ") and "mail_domain" in status
    assert f"{ini}:2: mail_domain" in log
    assert process.returncode == 0
