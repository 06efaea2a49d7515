"""Which addresses of the host lead to it from outside."""

import json

import pytest

from chatmaild.admin.dns.addresses import public


def listing(*addresses, **more):
    return json.dumps([{"ifname": "eth0", "addr_info": [{"local": one, **more}
                                                        for one in addresses]}])


def texts(*arguments):
    return [str(address) for address in public(*arguments)]


EVERY = ("127.0.0.1", "::1", "10.1.2.3", "172.20.0.1", "192.168.7.7", "100.64.1.1", "169.254.1.1",
         "fe80::1", "fd00::1", "198.51.100.7", "2001:db8::7")


def test_only_what_leads_here_from_outside():
    assert texts(listing(*EVERY)) == ["198.51.100.7", "2001:db8::7"]


@pytest.mark.parametrize("kind", ["temporary", "deprecated"])
def test_addresses_of_a_day_are_left_out(kind):
    assert texts(listing("2001:db8::7", **{kind: True})) == []


@pytest.mark.parametrize("interfaces, versions, expected", [
    (["all"], {4, 6}, ["198.51.100.7", "2001:db8::7"]),
    (["all"], {4}, ["198.51.100.7"]),
    (["127.0.0.1", "198.51.100.7"], {4, 6}, ["198.51.100.7"]),
    (["[2001:db8::7]"], {4, 6}, ["2001:db8::7"]),
])
def test_postfix_may_have_but_some(interfaces, versions, expected):
    assert texts(listing(*EVERY), interfaces, versions) == expected


@pytest.mark.parametrize("said", ["", "no JSON", "{}", "[1]", '[{"addr_info": [{}]}]'])
def test_whatever_is_said(said):
    assert texts(said) == []
