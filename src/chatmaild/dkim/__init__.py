"""Finds out who vouches for a message: DKIM signatures (RFC 6376, 8463), or a verifier's results.

    headers -> verification -> signature -> taglist      which signatures count
    body    -> bodyhash                                  hashed as it streams
            -> resolver -> dnsquery                      the keys, from the servers in `resolvconf`
            -> keyrecord -> crypto -> modexp             is a signature good?
    Authentication-Results -> results -> verification    what a verifier of this host found

Only `resolver` and `dnsquery` touch the network; the rest are functions of values. In filter-test
`zonefile` takes their place. May import `address`, `errors` and `slimimport`.
"""
