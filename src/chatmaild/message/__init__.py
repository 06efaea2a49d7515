"""Reads what a message is, as it streams: encrypted, an exception to that, or cleartext.

    header lines -> reader -> mediatype            which kind it claims to be
    body chunks  -> reader -> pgpmime -> parthead, armor -> packets -> sessionkeys, plaintext
                           -> wholebody -> securejoin, autocryptsetup      the exceptions
                 -> Content (a kind, or the reason and the offset of what does not fit)

Memory is bounded whatever comes, and no answer depends on where chunks were cut. `refusal` is how
the grammar says no; `autocryptkey` measures the text in a key. Pure: bytes in, values out.
May import nothing of the other rooms.
"""
