"""Makes pages from templates and languages. The only importer of Jinja and gettext.

Importing it raises `UsageError` where there is no Jinja.
"""

import gettext
import os
from collections.abc import Sequence
from pathlib import Path

from chatmaild.admin import links
from chatmaild.admin.web.facts import Facts
from chatmaild.admin.web.look import OWN_TEMPLATES
from chatmaild.errors import ChatmaildError, UsageError

try:
    import jinja2
except ImportError:     # only recommended by the package, since mail does not need it
    raise UsageError("pages are made with Jinja: apt install python3-jinja2") from None

LANGUAGES = {
    "en": "English", "de": "Deutsch", "fr": "Français", "es": "Español", "it": "Italiano",
    "pl": "Polski", "sq": "Shqip", "ru": "Русский",
}
"""Each by its own name."""

DOMAIN = "chatmaild"
"""Of the messages: the name of the .mo files."""

TEMPLATES = Path(__file__).with_name("templates")


class TemplateTrouble(ChatmaildError):
    """A template cannot be used."""


def _messages_dir() -> str | None:
    """Return the directory for gettext; None is its own default, /usr/share/locale."""
    return os.environ.get("TEXTDOMAINDIR") or None


def available() -> tuple[str, ...]:
    """Return the languages that have messages, English first."""
    return tuple(language for language in LANGUAGES
                 if language == "en" or gettext.find(DOMAIN, _messages_dir(), [language]))


def languages(names: Sequence[str]) -> tuple[str, ...]:
    """Return the languages asked for, or all. Raises `UsageError` for an unknown one."""
    there = available()
    for name in names:
        if name not in there:
            raise UsageError(f"--language {name}: there are {', '.join(there)}")
    return tuple(dict.fromkeys(names)) or there


class Site:
    """The pages of one chat domain."""

    def __init__(self, facts: Facts, languages: Sequence[str], own: Path = OWN_TEMPLATES):
        """The first of `languages` is that of the root page. `own` holds the admin's templates."""
        self._facts = facts
        self._languages = tuple(languages)
        self._loader = jinja2.FileSystemLoader([own, TEMPLATES])

    def pages(self) -> dict[str, bytes]:
        """Return path -> content. Raises `TemplateTrouble`."""
        link = links.signup(self._facts.domain) if self._facts.signup == "open" else ""
        found = {"style.css": self._render("style.css", self._languages[0])}
        for language in self._languages:
            for name in ("index.html", "privacy.html"):
                found[f"{language}/{name}"] = self._render(name, language, "../", link)
        found["index.html"] = self._render("index.html", self._languages[0], "", link)
        return found

    def invitation(self, link: str, until: str) -> bytes:
        """Return the page of one invitation. `until` is its last day, as YYYY-MM-DD."""
        return self._render("invitation.html", self._languages[0], "../", link, until)

    def _render(self, name: str, language: str, root: str = "", link: str = "", until: str = ""
                ) -> bytes:
        try:
            text = self._environment(language).get_template(name).render(
                facts=self._facts, domain=self._facts.domain, language=language, page=name,
                languages={each: LANGUAGES[each] for each in self._languages}, root=root,
                link=link, qr=links.svg(link) if link else "", until=until)
        except jinja2.TemplateError as error:
            where = getattr(error, "filename", None) or getattr(error, "name", None) or name
            line = f":{error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
            raise TemplateTrouble(f"{where}{line}: {error.message or error}; take the file away, "
                                  "and ours holds again") from None
        return text.encode()

    def _environment(self, language: str) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=self._loader, autoescape=jinja2.select_autoescape(["html"]), trim_blocks=True,
            lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
            extensions=["jinja2.ext.i18n"])
        translations = gettext.NullTranslations() if language == "en" else gettext.translation(
            DOMAIN, _messages_dir(), [language])
        environment.install_gettext_translations(  # type: ignore[attr-defined]
            translations, newstyle=True)
        return environment
