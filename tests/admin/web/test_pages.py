"""What the pages say is what the configuration says, in every language."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import jinja2
import pytest
from website import DOMAIN, PO

from chatmaild.admin.web.facts import size
from chatmaild.admin.web.pages import LANGUAGES, TEMPLATES

VOID = {"meta", "link", "path"}


class Outline(HTMLParser):
    """Elements and links of a page; every element is closed in its order."""

    def __init__(self, text):
        super().__init__()
        self.links, self.elements, self._open = [], [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag, f"{tag} at {self.getpos()}"


def pages(site):
    return {str(path.relative_to(site.root)): path.read_text()
            for path in sorted(site.root.rglob("*.html"))}


def test_every_page_is_whole_and_leads_only_to_what_is_there(site):
    site.web()
    found = pages(site)
    assert len(found) == 2 * len(LANGUAGES) + 1
    for path, text in found.items():
        outline = Outline(text)
        assert [tag for tag, _ in outline.elements].count("h1") == 1
        assert not {"script", "img", "iframe", "form"} & {tag for tag, _ in outline.elements}
        for link in outline.links:
            if not re.match("https://delta.chat/|dcaccount:|data:", link):
                assert ((site.root / path).parent / link).resolve().is_file(), f"{path}: {link}"


def test_each_language_says_so_and_has_words_of_its_own(site):
    site.web()
    texts = {language: site.page(f"{language}/privacy.html") for language in LANGUAGES}
    assert len({re.sub(r"<nav.*?</nav>|\"[^\"]*\"", "", text, flags=re.DOTALL)
                for text in texts.values()}) == len(LANGUAGES)
    for language, text in texts.items():
        assert f'<html lang="{language}">' in text


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_every_message_of_the_templates_is_translated_with_the_same_names(language):
    environment = jinja2.Environment(extensions=["jinja2.ext.i18n"])
    wanted = set()
    for path in TEMPLATES.glob("*.html"):
        for _, function, message in environment.extract_translations(path.read_text()):
            parts = message if isinstance(message, tuple) else (message,)
            wanted.add(tuple(part for part in parts if part)[:2 if function == "ngettext" else 1])
    text = (PO / f"{language}.po").read_text()
    entries = re.findall(r'^msgid "(.+)"\n((?:msg\w+(?:\[\d\])? ".+"\n?)+)', text, re.MULTILINE)
    assert {one for one, *_ in wanted} == {msgid for msgid, _ in entries}
    for msgid, rest in entries:
        for translated in re.findall(r'^msgstr(?:\[\d\])? "(.+)"', rest, re.MULTILINE):
            assert set(re.findall(r"%\(\w+\)s", translated)) == set(
                re.findall(r"%\(\w+\)s", msgid)), translated


def test_no_line_of_french_begins_with_a_sign():
    assert re.findall(r'^msgstr.*\w [:;!?].*', (PO / "fr.po").read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("language, days, words", [
    ("en", 1, "1 day after"), ("en", 20, "20 days after"), ("de", 1, "1 Tag nach"),
    ("pl", 3, "3 dni"), ("ru", 1, "1 день"), ("ru", 22, "22 дня"), ("ru", 25, "25 дней"),
])
def test_numbers_as_the_language_has_them(site, language, days, words):
    site.configure(f"delete_mails_after = {days}")
    site.web("--language", language)
    assert words in site.page("index.html")


@pytest.mark.parametrize("key, page, present, absent", [
    ("delete_mails_after = 33", "en/index.html", "33 days after", "20 days after"),
    ("delete_large_after = 20", "en/index.html", "20 days", "200 kB"),
    ("delete_inactive_users_after = 50", "en/index.html", "for 50 days", "for 90 days."),
    ("max_mailbox_size = 2G", "en/privacy.html", "2 GiB", "500 MiB"),
    ("push = no", "en/privacy.html", "Who gets data", "token"),
    ("push_gateway = https://push.example/x", "en/privacy.html", "push.example gets",
     "notifications.delta.chat"),
    ("log_addresses = yes", "en/privacy.html", "have mail addresses in them", "could be read"),
    ("passthrough_senders = news@chat.example.org", "en/privacy.html", "but for a few",
     "the server cannot read"),
    ("iroh_relay = https://iroh.example", "en/privacy.html", "connect to iroh.example", "calls"),
    ("signup = invite", "en/index.html", "by invitation", "dcaccount:"),
    ("signup = closed", "en/index.html", "made by those", "dcaccount:"),
    ("metadata_admin = mailto:postmaster@example.org", "en/index.html",
     '<a href="mailto:postmaster@example.org">postmaster@example.org</a>', "<b>"),
    ("metadata_comment = <b>Tom & co</b>", "en/index.html", "&lt;b&gt;Tom &amp; co", "<b>"),
])
def test_the_configuration_is_what_the_pages_say(site, key, page, present, absent):
    site.configure(key)
    site.web()
    text = site.page(page).replace("\N{NO-BREAK SPACE}", " ")
    assert present in text and absent not in text


def test_text_blocks_and_templates_of_the_admin(site):
    (site.own / "own-privacy.html").write_text("<p>Kept in {{ domain }}.</p>")
    (site.own / "own-privacy.de.html").write_text("<p>Aufbewahrt.</p>")
    (site.own / "style.css").write_text("body { color: green }\n")
    site.web()
    assert f"<p>Kept in {DOMAIN}.</p>" in site.page("fr/privacy.html")
    assert "<p>Aufbewahrt.</p>" in site.page("de/privacy.html")
    assert site.page("style.css") == "body { color: green }\n"


@pytest.mark.parametrize("text, words", [
    ("{% if %}", "own-welcome.html:1:"), ("{{ nothing.of_this }}", "nothing"),
    ("{% include 'missing' %}", "missing")])
def test_a_template_that_cannot_be_used_is_named(site, text, words):
    (site.own / "own-welcome.html").write_text(text)
    code, _, err = site.web()
    assert code == 1 and words in err and not list(site.root.iterdir())


def test_clients_find_the_servers(site):
    site.web()
    first, second = (site.page(path) for path in (
        "mail/config-v1.1.xml", ".well-known/autoconfig/mail/config-v1.1.xml"))
    assert first == second
    provider = ET.fromstring(first).find("emailProvider")
    assert provider.find("domain").text == DOMAIN
    assert [(server.get("type"), server.find("hostname").text, server.find("port").text,
             server.find("username").text) for server in provider if server.get("type")] == [
        ("imap", DOMAIN, "993", "%EMAILADDRESS%"), ("smtp", DOMAIN, "465", "%EMAILADDRESS%")]


def test_a_policy_for_other_servers_if_asked_for(site):
    _, out, _ = site.web("--mx", "mx.chat.example.org.", "--mta-sts", "enforce")
    assert (site.root / ".well-known/mta-sts.txt").read_bytes() == (
        b"version: STSv1\r\nmode: enforce\r\nmx: mx.chat.example.org\r\nmax_age: 604800\r\n")
    assert f'_mta-sts.{DOMAIN}. IN TXT "v=STSv1; id=' in out
    assert "mta-sts.txt" in site.web()[1] and not (site.root / ".well-known/mta-sts.txt").exists()


@pytest.mark.parametrize("octets, words", [
    (500 << 20, "500 MiB"), (1 << 30, "1 GiB"), (200_000, "200 kB"), (31457280, "30 MiB"),
    (1536 << 20, "1536 MiB"), (2_500_000_000, "2.5 GB"), (999, "999 B")])
def test_sizes(octets, words):
    assert size(octets) == words.replace(" ", "\N{NO-BREAK SPACE}")
