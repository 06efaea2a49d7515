"""The lines of doc/web.md for web servers, each in the real one, and port 443 shared with mail."""

import contextlib
import http.client
import os
import re
import socket
import socketserver
import ssl
import subprocess
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest
from rig.debian import Missing
from rig.unpacked import unpacked
from rig.until import until
from website import DOMAIN, Site

DOC = Path(__file__).parents[3] / "doc"
NGINX = """\
load_module {modules}/ngx_stream_module.so;
daemon off;
user www-data;
pid {place}/pid;
error_log {place}/error.log;
events {{ }}
{stream}
http {{
    types {{ text/html html; text/css css; text/xml xml; }}
    access_log {place}/access.log;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    {lines}
}}
"""
APACHE = """\
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule autoindex_module {modules}/mod_autoindex.so
LoadModule setenvif_module {modules}/mod_setenvif.so
LoadModule ssl_module {modules}/mod_ssl.so
ServerName localhost
ServerRoot {place}
DefaultRuntimeDir {place}
PidFile {place}/pid
ErrorLog {place}/error.log
LogFormat "%h %l %u %t \\"%r\\" %>s %O" combined
TypesConfig /dev/null
AddType text/html .html
AddType text/css .css
AddType text/xml .xml
User www-data
Group www-data
Listen {port}
<Directory />
    Require all denied
</Directory>
{lines}
"""
CADDY = """\
{{
    local_certs
    skip_install_trust
    admin off
    http_port {other}
    https_port {port}
    storage file_system {place}
}}
{lines}
"""


def program(*packages):
    """Where the files of these packages are."""
    try:
        return [unpacked(package) for package in packages]
    except (Missing, OSError) as error:
        assert not os.environ.get("CI"), error
        pytest.skip(str(error))


def recipe(heading, document="web.md", **replaced):
    """The first block of a section, with these words replaced."""
    text = (DOC / document).read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    block = re.search(r"(?m)^(?:    .*\n)(?:    .*\n|\n)*", section)[0]
    for old, new in replaced.items():
        assert old in block
        block = block.replace(old, new)
    return textwrap.dedent(block)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def place(capsys):
    """A site of a chat domain with an invitation and a certificate; others may read it."""
    pytest.importorskip("jinja2")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        site = Site(directory, capsys)
        site.configure("signup = invite")
        (directory / "mail" / DOMAIN).mkdir(parents=True)
        assert site.web()[0] == 0
        assert site.call("invite", "create", "--web", str(site.root))[0] == 0
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={DOMAIN}",
                        "-keyout", directory / "privkey.pem", "-out", directory / "fullchain.pem"],
                       check=True, capture_output=True)
        yield directory


def tls(port, name=DOMAIN, *protocols):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=60),
                               server_hostname=name)


def fetched(port, path, name=DOMAIN):
    """Status, headers in lower case, and body."""
    with tls(port, name, "http/1.1") as client:
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        with client.makefile("rb") as lines:
            head, _, body = lines.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower().decode(), body


@contextlib.contextmanager
def running(port, *command, **environment):
    """The server, until it answers at `port`."""
    process = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin"} | environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def answers():
        assert process.poll() is None, process.stderr.read()
        with contextlib.suppress(OSError), tls(port):
            return True

    try:
        until(answers, command[0], pause=0.1)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=120)


@contextlib.contextmanager
def nginx(place, port, stream="", beside=""):
    files, module = program("nginx", "libnginx-mod-stream")
    lines = beside + recipe("nginx", **paths(place), **{"443": str(port)})
    (place / "conf").write_text(NGINX.format(
        place=place, lines=lines, stream=stream, modules=module / "usr/lib/nginx/modules"))
    with running(port, files / "usr/sbin/nginx", "-p", place, "-c", place / "conf", "-e",
                 place / "error.log"):
        yield place / "access.log"


@contextlib.contextmanager
def apache(place, port):
    files, *libraries = program("apache2-bin", "libapr1", "libaprutil1")
    lines = recipe("Apache", **paths(place), **{"443": str(port)})
    (place / "conf").write_text(APACHE.format(
        place=place, lines=lines, port=port, modules=files / "usr/lib/apache2/modules"))
    where = ":".join(str(found.parent) for library in libraries
                     for found in library.glob("usr/lib/*/libapr*.so.*") if found.is_symlink())
    with running(port, files / "usr/sbin/apache2", "-D", "FOREGROUND", "-f", place / "conf",
                 LD_LIBRARY_PATH=where, APACHE_LOG_DIR=str(place)):
        yield place / "access.log"


@contextlib.contextmanager
def caddy(place, port):
    files, = program("caddy")
    (place / "conf").write_text(CADDY.format(
        place=place, port=port, other=free_port(),
        lines=recipe("Caddy", **{f"/var/www/{DOMAIN}": str(place / "www")})))
    with running(port, files / "usr/bin/caddy", "run", "--config", place / "conf", "--adapter",
                 "caddyfile", HOME=str(place)):
        yield None


def paths(place):
    return {f"/var/www/{DOMAIN}": str(place / "www"),
            f"/etc/letsencrypt/live/{DOMAIN}": str(place)}


@pytest.mark.parametrize("server", [nginx, apache, caddy])
def test_a_visitor_finds_everything(place, server):
    invitation = next((place / "www/invitation").iterdir()).name
    with server(place, port := free_port()) as log:
        status, head, body = fetched(port, "/")
        assert (status, body) == (200, (place / "www/index.html").read_bytes())
        assert "content-type: text/html" in head
        assert "content-type: text/css" in fetched(port, "/style.css")[1]
        assert fetched(port, "/de/index.html")[0] == 200
        for name, path in ((DOMAIN, "/.well-known/autoconfig/mail/config-v1.1.xml"),
                           (f"autoconfig.{DOMAIN}", "/mail/config-v1.1.xml")):
            status, head, body = fetched(port, path, name)
            assert status == 200 and "xml" in head and b"<clientConfig" in body
        assert fetched(port, "/nothing")[0] == 404
        assert fetched(port, "/invitation/")[0] in (403, 404)
        assert fetched(port, f"/invitation/{invitation}")[0] == 200
        if log:
            until(lambda: "GET /nothing" in log.read_text(), "the access log")
            fetched(port, "/de/privacy.html")
            until(lambda: "GET /de/privacy.html" in log.read_text(), "the access log")
            assert invitation not in log.read_text()


def test_beside_yunohost_certbot_is_answered_by_http_and_people_are_sent_to_https(place):
    port, plain = free_port(), free_port()
    beside = recipe("Pages and certificate", "yunohost.md", **{
        f"/var/www/{DOMAIN}": str(place / "www"), " 80": f" {plain}", ":80": f":{plain}"})
    challenge = place / "www/.well-known/acme-challenge/token"
    challenge.parent.mkdir(parents=True)
    challenge.write_text("proof")
    with nginx(place, port, beside=beside):
        for name in (DOMAIN, f"autoconfig.{DOMAIN}", f"imap.{DOMAIN}", f"smtp.{DOMAIN}"):
            client = http.client.HTTPConnection("127.0.0.1", plain, timeout=60)
            client.request("GET", "/.well-known/acme-challenge/token", headers={"Host": name})
            assert client.getresponse().read() == b"proof"
            client.request("GET", "/de/", headers={"Host": name})
            assert client.getresponse().getheader("Location") == f"https://{name}/de/"
            client.close()
        assert fetched(port, "/")[0] == 200


@contextlib.contextmanager
def mail_server(place, greeting):
    """A TLS server that greets; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "fullchain.pem", place / "privkey.pem")

    class Greeting(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError), context.wrap_socket(
                    self.request, server_side=True) as client:
                client.sendall(greeting)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_nginx_tells_mail_from_web_by_alpn(place):
    shared, web = free_port(), free_port()
    with mail_server(place, b"* OK imap\r\n") as imap, mail_server(place, b"220 smtp\r\n") as smtp:
        stream = recipe("Port 443 for mail as well", **{
            "8443": str(web), ":993": f":{imap}", ":465": f":{smtp}", "443;": f"{shared};"})
        with nginx(place, web, stream):
            for protocol, greeting in (("imap", b"* OK imap\r\n"), ("smtp", b"220 smtp\r\n")):
                with tls(shared, DOMAIN, protocol) as client:
                    assert client.recv(100) == greeting
            assert fetched(shared, "/")[0] == 200
