"""Finds out who vouches for a message: DKIM signatures (RFC 6376, 8463), or a verifier's results.

    headers -> verification -> signature -> taglist      which signatures count
    body    -> bodyhash                                  hashed as it streams
            -> resolver -> dnsquery                      the keys, from the DNS; resolvconf: whose?
            -> keyrecord -> crypto -> modexp             is a signature good?
    Authentication-Results -> results -> verification    what a verifier of the host found

Only `resolver` and `dnsquery` touch the network; all else is values. `zonefile` stands in for them
in filter-test. May import `address`, `errors` and
`slimimport`.
"""
