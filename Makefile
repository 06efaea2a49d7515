# make demo    the whole thing at work on a private host (root); KEEP=1 leaves it running
# make test    everything: unit tests, private hosts on both Debian releases, the real client (root)
# make check   what needs neither root nor a server: style and unit tests

PYTHON = /usr/bin/python3
PYTEST = $(PYTHON) -m pytest
UNIT = not integration and not container and not fuzz

.PHONY: help demo demo-stop test check

help:
	@sed -n 's/^# make/make/p' Makefile

demo:
	@tests/rig/bootstrap demo
	@KEEP=$(KEEP) tests/rig/enter $(if $(filter 1,$(KEEP)),--keep) -- $(PYTHON) tests/rig/demo.py

demo-stop:
	@tests/rig/enter --stop

check:
	$(PYTHON) -m flake8 src tests bench
	$(PYTEST) -q -m "$(UNIT)" tests

test:
	@tests/rig/bootstrap test
	@$(PYTHON) tests/rig/everything.py
