"""The pages in a real Chromium, on a phone and on a desk, by day and by night."""

import base64
import contextlib
import functools
import http.server
import os
import shutil
import subprocess
import threading

import pytest
from website import DOMAIN

from chatmaild.admin.web.pages import LANGUAGES

NAMED = {"link", "heading", "image", "navigation", "region", "RootWebArea"}
"""Roles that need a name."""

PHONE, DESK = (320, 640), (1280, 800)

if not os.environ.get("CI"):
    pytest.importorskip("websocket")
    if not shutil.which("chromium") or not shutil.which("zbarimg"):
        pytest.skip("needs the packages chromium and zbar-tools", allow_module_level=True)

from chromium import Chromium  # noqa: E402


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with contextlib.closing(Chromium(tmp_path_factory.mktemp("chromium"))) as browser:
        yield browser


@pytest.fixture
def served(site):
    """The address of a web server for the site."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass
    handler = functools.partial(Quiet, directory=str(site.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def codes(browser, directory):
    """What a scanner reads from the screen."""
    picture = directory / "screen.png"
    picture.write_bytes(base64.b64decode(browser.screenshot()))
    done = subprocess.run(["zbarimg", "--quiet", "--raw", picture], capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
def test_every_page_in_every_language(site, served, browser, screen):
    site.configure("metadata_admin = mailto:postmaster@example.org\n"
                   "passthrough_senders = news@chat.example.org")
    assert site.web()[0] == 0
    browser.requests.clear()
    browser.complaints.clear()
    for path in ("index.html", *(f"{language}/{name}.html" for language in LANGUAGES
                                 for name in ("index", "privacy"))):
        browser.show(served + path, *screen)
        assert browser.value("document.documentElement.scrollWidth") <= screen[0], path
        assert browser.value("getComputedStyle(document.body).maxWidth") != "none", path
        told = browser.accessible()
        roles = [role for role, _ in told]
        assert (roles.count("main"), roles.count("navigation")) == (1, 1), path
        nameless = {role for role, name in told if not name} & NAMED
        assert nameless == set(), path
        assert browser.value("[...document.querySelectorAll('h1,h2')].map(h => h.tagName)"
                             )[:2] == ["H1", "H2"], path
    assert not [address for address in browser.requests
                if not address.startswith((served, "data:"))]
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["by day", "by night"])
def test_the_code_is_the_link_and_the_text_can_be_read(site, served, browser, tmp_path, dark):
    site.web()
    browser.show(f"{served}index.html", *PHONE, dark=dark)
    browser.value("document.querySelector('figure').scrollIntoView()")
    assert codes(browser, tmp_path) == [f"dcaccount:{DOMAIN}"]
    assert browser.value("document.querySelector('figcaption a').href") == f"dcaccount:{DOMAIN}"
    for selector in ("main p", "main a", "header p a", "nav a", "footer a"):
        assert contrast(browser, selector) >= 4.5, selector     # WCAG 2.2, 1.4.3
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (luminance(background) < 0.2) is dark


def contrast(browser, selector):
    """Between the text of an element and the page."""
    colors = (f"getComputedStyle(document.querySelector('{selector}')).color",
              "getComputedStyle(document.body).backgroundColor")
    first, second = sorted(luminance(browser.value(color)) for color in colors)
    return (second + 0.05) / (first + 0.05)


def luminance(color):
    """Of ``rgb(R, G, B)``, as WCAG 2.2 defines it."""
    channels = [int(part) / 255 for part in color.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
              for part in channels]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def test_the_page_of_an_invitation(site, served, browser, tmp_path):
    site.configure("signup = invite")
    (tmp_path / "mail" / DOMAIN).mkdir(parents=True)
    _, out, err = site.call("invite", "create", "--web", str(site.root), "--templates",
                            str(site.own))
    assert site.web()[0] == 0
    browser.show(served + out.strip().removeprefix(f"https://{DOMAIN}/"), *PHONE)
    browser.value("document.querySelector('figure').scrollIntoView()")
    link, = codes(browser, tmp_path)
    assert link.startswith("dclogin:")
    assert link == browser.value("document.querySelector('figcaption a').getAttribute('href')")
    assert browser.value("document.documentElement.scrollWidth") <= PHONE[0]
