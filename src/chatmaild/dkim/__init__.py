"""Finds out who vouches for a message: DKIM signatures (RFC 6376, 8463), or a verifier's results.

    headers -> verification -> signature                 which signatures count
    body    -> bodyhash                                  hashed as it streams
            -> resolver (the keys, from DNS) -> crypto -> modexp         is a signature good?
    Authentication-Results -> results -> verification    what a verifier of the host found

Only `resolver` touches the network; all else is values. May import `address`, `errors` and
`slimimport`.
"""
