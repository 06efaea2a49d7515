"""A Postfix of its own for measurements, in namespaces where nothing of the host is touched."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIR = Path("/run/chatmaild-bench")
"""A tmpfs, seen in the namespaces only."""

# in_flow_delay: else a Postfix that takes more than it delivers sleeps a second now and then, the
# sooner the faster it is.
MAIN = f"""
compatibility_level = 3.6
queue_directory = {DIR}/queue
data_directory = {DIR}/data
maillog_file = {DIR}/log
maillog_file_prefixes = {DIR}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_recipient_restrictions = permit_mynetworks, reject
default_transport = discard:
local_transport = discard:
message_size_limit = 60000000
milter_default_action = tempfail
in_flow_delay = 0
alias_maps =
"""
MASTER = """
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
discard unix - - n - - discard
error unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
verify unix - - n - 1 verify
retry unix - - n - - error
showq unix n - n - - showq
"""


def enter():
    """Run the script again as root of namespaces of our own, with --inside."""
    os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc",
                          sys.executable, sys.argv[0], "--inside", *sys.argv[1:]])


def start(services, processes):
    """Postfix with an smtpd, of so many processes, for each port -> lines of options in
    `services`."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    DIR.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", DIR], check=True)
    for name in ("etc", "queue", "data"):
        (DIR / name).mkdir()
    shutil.chown(DIR / "data", "postfix")
    (DIR / "etc/main.cf").write_text(MAIN)
    (DIR / "etc/master.cf").write_text(MASTER + "".join(
        f"127.0.0.1:{port} inet n - n - {processes} smtpd\n  {options}\n"
        for port, options in services.items()))
    _postfix("start").check_returncode()


def stop():
    _postfix("abort")


def _postfix(command):
    return subprocess.run(["postfix", "-c", DIR / "etc", command],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_service(name, ini, arguments, log):
    """`chatmaild NAME` of this checkout, beside it; the process."""
    return subprocess.Popen(
        [sys.executable, "-m", "chatmaild", "-c", ini, name, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "JOURNAL_STREAM": "0:0"},
        stdin=subprocess.DEVNULL, stderr=log)


def wait_for(path_or_port):
    """Until somebody listens there."""
    deadline = time.monotonic() + 20
    while True:
        family = socket.AF_INET if isinstance(path_or_port, int) else socket.AF_UNIX
        where = ("127.0.0.1", path_or_port) if isinstance(path_or_port, int) else str(path_or_port)
        with socket.socket(family) as probe:
            try:
                probe.connect(where)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
        time.sleep(0.02)


def send(port, path, sender, recipient, sessions, count):
    """Messages per second."""
    began = time.monotonic()
    subprocess.run(["smtp-source", "-s", str(sessions), "-m", str(count), "-d", "-f", sender,
                    "-t", recipient, "-F", path, f"127.0.0.1:{port}"], check=True)
    return count / (time.monotonic() - began)


def drain():
    """Until the queue is empty."""
    while any(files for name in ("incoming", "active", "maildrop")
              for _, _, files in os.walk(DIR / "queue" / name)):
        time.sleep(0.05)


def memory(process, key):
    """VmRSS or VmHWM in MB."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
