"""What clients may read: what is configured, and nothing that is broken."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from pathlib import Path

import pytest

from chatmaild.config import inifile
from chatmaild.errors import ConfigError
from chatmaild.push import clientkeys, turn
from chatmaild.push.clientkeys import ClientKeys

VENDOR = b"vendor/deltachat/"


def domain(**settings):
    text = "[chatmaild]\nmail_domains = chat.test\n" + "".join(
        f"{key} = {value}\n" for key, value in settings.items())
    return inifile.parse(text.encode(), Path("chatmaild.ini")).domains["chat.test"]


def value(key, **settings):
    found = ClientKeys(domain(**settings)).value(VENDOR + key)
    if found is None or isinstance(found, bytes):
        return found

    async def awaited():
        return await found
    return asyncio.run(awaited())


def test_nothing_is_there_that_is_not_configured():
    for key in (b"irohrelay", b"turn", b"appversions", b"unknown", b""):
        assert value(key) is None
    assert value(b"maxsmtprecipients") == b"1000"
    assert value(b"maxsmtprecipients", max_smtp_recipients="") is None


def test_what_is_configured_is_there():
    assert value(b"maxsmtprecipients", max_smtp_recipients="50") == b"50"
    assert value(b"irohrelay", iroh_relay="https://iroh.test") == b"https://iroh.test"


def test_turn_credentials_are_those_that_coturn_computes(tmp_path):
    (tmp_path / "secret").write_text("north\n")
    found = value(b"turn", turn_server="turn.test:3478", turn_secret_file=tmp_path / "secret")
    host, port, expires, password = found.decode().split(":", 3)
    assert (host, port) == ("turn.test", "3478")
    assert 4 * 86_400 < int(expires) - time.time() <= 5 * 86_400
    digest = hmac.new(b"north", expires.encode(), hashlib.sha1).digest()
    assert base64.b64decode(password) == digest


def test_turn_credentials_of_a_known_secret():
    # printf 1433895918 | openssl dgst -sha1 -hmac mysecret -binary | base64
    assert turn.credentials(b"mysecret", 1433895918) == "1433895918:GY1sG7UY3QRHbkFoBhEofRy1UzA="


@pytest.mark.parametrize("content", [None, b"", b"\n", b"x" * 70_000])
def test_a_secret_that_cannot_be_used_is_named(tmp_path, caplog, content):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    assert value(b"turn", turn_server="turn.test:3478", turn_secret_file=path) is None
    assert str(path) in caplog.text and "turn_secret_file of chat.test" in caplog.text


def test_app_versions_are_compact_json(tmp_path):
    path = tmp_path / "versions.json"
    path.write_text(json.dumps({"clients": [1, 2], "name": "\u00e9"}, indent=4))
    assert json.loads(value(b"appversions", app_versions_file=path)) == {
        "clients": [1, 2], "name": "\u00e9"}
    assert b"\n" not in value(b"appversions", app_versions_file=path)


@pytest.mark.parametrize("content", ["{", "[" * 60_000])
def test_app_versions_that_are_no_json_are_named(tmp_path, caplog, content):
    path = tmp_path / "versions.json"
    path.write_text(content)
    assert value(b"appversions", app_versions_file=path) is None
    assert str(path) in caplog.text and "not JSON" in caplog.text


def ask_turn_socket(tmp_path, answer):
    path = tmp_path / "turn.sock"

    async def scenario():
        async def serve(reader, writer):
            if answer is None:
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            else:
                writer.write(answer)
            writer.close()
        async with await asyncio.start_unix_server(serve, path):
            keys = ClientKeys(domain(turn_server="turn.test:3478", turn_socket=path))
            return await keys.value(VENDOR + b"turn")
    return asyncio.run(scenario())


def test_another_program_may_make_the_credentials(tmp_path):
    assert ask_turn_socket(tmp_path, b"1790000000:abc=\n") == b"turn.test:3478:1790000000:abc="


@pytest.mark.parametrize("answer", [b"", b"\n", b"abc\n", b"x:y\n", b"1790000000:\n",
                                    b"1790000000:" + b"x" * 2000, b"1:\xff\n", b"1:a\tb\n", None])
def test_what_it_answers_wrongly_or_never_is_not_passed_on(tmp_path, caplog, monkeypatch, answer):
    monkeypatch.setattr(clientkeys, "TURN_TIMEOUT", 0.02)
    assert ask_turn_socket(tmp_path, answer) is None
    assert "turn.sock" in caplog.text


def test_a_program_that_is_not_there_is_named(tmp_path, caplog):
    assert value(b"turn", turn_server="turn.test:3478", turn_socket=tmp_path / "turn.sock") is None
    assert "turn.sock: No such file" in caplog.text


@pytest.mark.parametrize("settings", [
    {"turn_server": "turn.test:3478"}, {"turn_secret_file": "/s"}, {"turn_socket": "/s"},
    {"turn_server": "turn.test:3478", "turn_secret_file": "/s", "turn_socket": "/t"},
    {"turn_server": "turn.test"}, {"turn_server": "[::1]:3478"}, {"iroh_relay": "iroh.test"},
    {"iroh_relay": "https://user@iroh.test"}, {"max_smtp_recipients": "many"},
    {"metadata_admin": "postmaster@chat.test"}, {"metadata_comment": "100% ours"},
    {"app_versions_file": "versions.json"}, {"push_gateway": "notifications.test"},
    {"push_max_requests": "0"},
])
def test_a_mistake_in_the_configuration_is_one(settings):
    with pytest.raises(ConfigError):
        domain(**settings)
