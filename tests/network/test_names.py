"""`chatmaild check --dns` where all is as it should be, and `chatmaild dns` on the same hosts."""

import json

import pytest
from network.agent import AUTHORITY
from network.sites import PLAIN


@pytest.mark.parametrize("key", ["one", "two"])
def test_the_names_of_a_host_in_order(hosts, key):
    host = hosts[key]
    done = host.run("env", f"SSL_CERT_FILE={AUTHORITY}", "chatmaild", "check", "--dns", "--probe",
                    PLAIN.domain, "--json", check=False)
    found = [finding for finding in json.loads(done.stdout)["findings"]
             if finding["code"].startswith(("dns-", "outgoing-"))]
    assert [finding for finding in found if finding["level"] != "ok"] == []
    assert {finding["code"] for finding in found} == {
        "dns-mx", "dns-address", "dns-spf", "dns-dkim", "dns-dmarc", "dns-ptr", "dns-certificate",
        "outgoing-25"}
    printed = host.run("chatmaild", "dns", "--plain").stdout
    assert f"{host.site.address6}\n" in printed and "s1._domainkey." in printed
