#!/usr/bin/python3
"""The least that a milter in Python can do: see everything, accept it."""

import sys

import Milter


class AcceptAll(Milter.Base):
    @Milter.noreply
    def header(self, name, value):
        return Milter.CONTINUE

    @Milter.noreply
    def body(self, chunk):
        return Milter.CONTINUE


Milter.factory = AcceptAll
Milter.runmilter("acceptall", f"unix:{sys.argv[1]}", 600)
