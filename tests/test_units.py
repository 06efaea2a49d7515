"""The systemd units are what the documentation says: hardened, socket-activated, one target."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from chatmaild.admin.wiring.observation import NETWORK_UNITS

ROOT = Path(__file__).parent.parent
SYSTEMD = ROOT / "systemd"
SERVICES = sorted(path.stem for path in SYSTEMD.glob("*.service"))
SOCKETS = sorted(path.stem for path in SYSTEMD.glob("*.socket"))
ON_THE_NETWORK = {"chatmaild-filtermail-incoming", "chatmaild-notifier"}


class Unit(dict):
    """`unit["Section"]["Key"]` is the list of values given, in order."""

    def __init__(self, name):
        section = None
        for line in (SYSTEMD / name).read_text().splitlines():
            if line.startswith("["):
                section = self.setdefault(line.strip("[]"), {})
            elif line and line[0] not in "#;":
                key, _, value = line.partition("=")
                section.setdefault(key, []).append(value)


@pytest.mark.parametrize("service", SERVICES)
def test_exposure(service):
    """`systemd-analyze security` counts tenths: 5 is 0.5. It finds the drop-ins beside the unit."""
    if not shutil.which("systemd-analyze") and not os.environ.get("CI"):
        pytest.skip("systemd-analyze is not installed")
    threshold = 15 if service in ON_THE_NETWORK else 5
    result = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={threshold}",
         SYSTEMD / f"{service}.service"],
        capture_output=True, text=True,
    )
    assert result.returncode == 0, result.stdout
    assert "Overall exposure level" in result.stdout


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "chatmaild-expire"])
def test_daemon_restarts_reloads_and_belongs_to_the_target(service):
    unit = Unit(f"{service}.service")
    assert unit["Unit"]["PartOf"] == unit["Install"]["WantedBy"] == ["chatmaild.target"]
    assert unit["Service"]["Type"] == ["notify"]
    assert unit["Service"]["Restart"] == ["on-failure"]
    assert unit["Service"]["RestartPreventExitStatus"] == ["2"]
    assert "WatchdogSec" in unit["Service"] and "ExecReload" in unit["Service"]
    assert "Also" not in unit["Install"], "an upgrade would stop the socket with the service"


def test_deletion_runs_from_its_timer_only():
    assert "Install" not in Unit("chatmaild-expire.service")
    assert Unit("chatmaild-expire.timer")["Timer"]["Persistent"] == ["true"]


@pytest.mark.parametrize("service", ["chatmaild-doveauth", "chatmaild-expire"])
def test_nobody_mistakes_an_empty_mount_point_for_the_mailboxes(service):
    assert Unit(f"{service}.service")["Unit"]["RequiresMountsFor"] == ["/var/lib/chatmaild/mail"]


@pytest.mark.parametrize("socket", SOCKETS)
def test_socket_outlives_its_service(socket):
    unit = Unit(f"{socket}.socket")
    assert unit["Unit"]["PartOf"] == unit["Install"]["WantedBy"] == ["chatmaild.target"]
    assert unit["Socket"]["RemoveOnStop"] == ["yes"]
    assert unit["Socket"]["SocketMode"] in (["0660"], ["0600"])
    # A service started by hand without its socket would have nothing to listen on.
    service = unit["Socket"].get("Service", [f"{socket}.service"])[0]
    assert f"{socket}.socket" in Unit(service)["Unit"]["Requires"][0].split()


def test_every_user_of_a_unit_is_made():
    made = set(re.findall(r"^u (\S+)", (SYSTEMD / "sysusers.conf").read_text(), re.MULTILINE))
    used = {Unit(f"{service}.service")["Service"]["User"][0] for service in SERVICES}
    assert used <= made


def test_drop_ins_are_read_in_the_order_they_need():
    """Drop-ins of all directories are read by name: what a service needs must come later."""
    assert (SYSTEMD / "chatmaild-.service.d" / "hardening.conf").exists()
    for path in SYSTEMD.glob("chatmaild-?*.service.d/*"):
        assert path.name == "needs.conf" > "hardening.conf"
        assert path.parent.name.removesuffix(".service.d") in SERVICES
    for path in map(Path, NETWORK_UNITS):
        assert path.name > "needs.conf" and path.parent.name.removesuffix(".service.d") in SERVICES
