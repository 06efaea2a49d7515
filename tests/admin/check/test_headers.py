"""Header checks of the host, on what clients write."""

import dataclasses

import pytest
from captured import CONFIG, RELEASES, bad, postfix, with_option, with_parameters

from chatmaild.admin.check import headers
from chatmaild.admin.servers.postconf import PostfixError, Service

pytestmark = pytest.mark.parametrize("release", RELEASES)


@pytest.mark.parametrize("parameter, table, level", [
    ("header_checks", "regexp:{ /^Received:/ IGNORE }", None),
    ("header_checks", "regexp:{ /^User-Agent:/ IGNORE }", None),
    ("header_checks", "regexp:{ /^Subject:/ WARN }", None),
    ("header_checks", "regexp:{ /^Autocrypt:/ IGNORE }", "failure"),
    ("header_checks", "regexp:{ /^Content-Type: multipart.encrypted/ REJECT no }", "failure"),
    ("header_checks", "regexp:{ /^[A-Z][a-z]+-[A-Z][a-z]+:/ STRIP }", "failure"),
    ("mime_header_checks", "regexp:{ /name=.*exe/ REJECT }", None),
    ("mime_header_checks", "regexp:{ /name=.*(asc|exe)/ REJECT }", "failure"),
    ("smtp_header_checks", "regexp:{ /^Chat-/ IGNORE }", "failure"),
    ("lmtp_header_checks", "regexp:{ /^Chat-/ IGNORE }", "failure"),
    ("body_checks", "regexp:{ /^TVqQAAMAAAAEAAAA/ REJECT }", None),
    ("body_checks", "regexp:{ /^[A-Za-z0-9+]{60,}$/ REJECT no base64 }", "failure"),
    ("body_checks", "regexp:{ /BEGIN PGP MESSAGE/ HOLD }", "failure"),
    ("header_checks", "regexp:{ /^Subject:/ BCC archive@example.org }", "failure"),
    ("header_checks", "regexp:{ /^From:.*@chat\\.example\\.org/ HOLD }", "failure"),
    ("header_checks", "regexp:{ /^To:.*@chat/ REDIRECT archive@example.org }", "failure"),
    ("header_checks", "regexp:{ /^To:.*@example/ REDIRECT archive@example.org }", None),
    ("header_checks", "regexp:{ /^From:/ FILTER smtp:[mx.filter.example] }", "failure"),
    ("header_checks", "regexp:{ /^From:/ FILTER smtp:[127.0.0.1]:10024 }", None),
    ("body_checks", "regexp:{ /BEGIN PGP/ HOLD }", "failure"),
    ("body_checks", "regexp:{ /^[A-Za-z0-9+]{60,}$/ REJECT }", "failure"),
    ("body_checks", "regexp:{ /viagra/ REJECT }", None),
])
def test_tables(release, parameter, table, level):
    host = with_parameters(postfix(release), **{parameter: table})
    assert bad(headers.check(host, CONFIG)) == ({"headers": level} if level else {})


def test_the_cleanup_service_of_submissions(release):
    host = postfix(release)
    host = dataclasses.replace(host, services=(
        *host.services, Service("own/unix", "cleanup", False,
                                {"header_checks": "regexp:{ /^Chat-/ IGNORE }"})))
    assert bad(headers.check(host, CONFIG)) == {}
    host = with_option(host, "submission/inet", "cleanup_service_name", "own")
    assert bad(headers.check(host, CONFIG)) == {"headers": "failure"}


def test_where_no_checks_are_made(release):
    host = with_parameters(postfix(release), header_checks="regexp:{ /^Chat-/ IGNORE }",
                           receive_override_options="no_header_body_checks")
    assert bad(headers.check(host, CONFIG)) == {}
    host = with_parameters(host, smtp_header_checks="regexp:{ /^Chat-/ IGNORE }")
    assert bad(headers.check(host, CONFIG)) == {"headers": "failure"}


def test_a_table_that_cannot_be_asked_is_named_elsewhere(release):
    def ask(table, key):
        raise PostfixError("gone")
    assert bad(headers.check(dataclasses.replace(postfix(release), ask=ask), CONFIG)) == {}
