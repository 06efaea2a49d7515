"""Tells what a message is while it streams: encrypted, one of the exceptions, or cleartext.

    header lines -> reader -> mediatype            what it claims to be
    body chunks  -> reader -> pgpmime -> parthead, armor -> packets -> sessionkeys, plaintext
                           -> wholebody -> securejoin, autocryptsetup      the exceptions
                 -> Content (what it is, or the reason and the offset of the first fault)

Memory is bounded for any input, and no answer depends on where the chunks were cut. Every parser
raises `refusal.Refusal` at a fault; `autocryptkey` measures the text in a key. Pure: bytes in,
values out. Imports no other room.
"""
