# make demo    the whole thing at work on a private host (root); KEEP=1 leaves it running
# make demo HOSTS=2    one chat domain on two hosts with PostgreSQL (root)
# make test    everything: unit tests, private hosts on both Debian releases, the real client (root)
# make test-cluster    two hosts with one chat domain and a directory (root)
# make test-network    all of it between several hosts in a network of their own (root)
# make test-stability RUNS=5 BUSY=2    the private hosts again and again, beside busy loops (root)
# make test-clean                        remove what demo and test installed and downloaded (root)
# make test-profiles    hosts as people have them, before and after chatmaild; PROFILES="sieve sqlite" (root)
# make check   what needs neither root nor a server: style, types, spelling and unit tests, their coverage
# make unit    the unit tests alone, which takes half of that time; ARGS=tests/push
# make deb, make lintian, make autopkgtest    the package, in clean Debians of both releases (root)
# make repository KEY=... URL=https://...    a signed apt repository in build/repository; or adds to the one there

PYTHON = /usr/bin/python3
PYTEST = $(PYTHON) -m pytest
UNIT = not integration and not container and not network and not profiles and not fuzz

.PHONY: help demo demo-stop test test-stability test-clean check unit

help:
	@sed -n 's/^# make/make/p' Makefile

demo:
ifeq ($(HOSTS),2)
	@tests/rig/bootstrap test
	@$(PYTHON) -B tests/cluster/demo.py
else
	@tests/rig/bootstrap demo
	@KEEP=$(KEEP) tests/rig/enter $(if $(filter 1,$(KEEP)),--keep) -- $(PYTHON) tests/rig/demo.py
endif

demo-stop:
	@tests/rig/enter --stop

check:
	$(PYTHON) -m flake8 src tests bench
	$(PYTHON) -m isort --check src tests bench
	$(PYTHON) -m mypy
	codespell
	@mkdir -p build
	PYTHONPATH=src:tests $(PYTHON) -m coverage run -m pytest -q -m "$(UNIT) and not timing" tests
	$(PYTHON) -m coverage report
	$(PYTEST) -q -m "$(UNIT) and timing" tests

ARGS = tests
unit:
	$(PYTEST) -q -m "$(UNIT)" $(ARGS)

test:
	@tests/rig/bootstrap test
	@PYTHONPATH=tests $(PYTHON) -B -m rig.everything

test-clean:
	@tests/rig/bootstrap remove

RUNS = 5
BUSY = 0

test-stability:
	@tests/rig/bootstrap test
	@PYTHONPATH=tests $(PYTHON) -B -m rig.stability --runs $(RUNS) --busy $(BUSY)

.PHONY: test-network test-cluster

test-network:
	@tests/rig/bootstrap test
	$(PYTEST) -q tests/network

test-cluster:
	@tests/rig/bootstrap test
	$(PYTEST) -q tests/cluster

.PHONY: deb lintian autopkgtest

CONTAINER = $(PYTEST) -q -m container tests/container

# In a copy, so that nothing is left in the tree; the result is in build/.
deb:
	rm -rf build/deb && mkdir -p build/deb/chatmaild
	git ls-files -co --exclude-standard | tar -c -T - | tar -x -C build/deb/chatmaild
	cd build/deb/chatmaild && dpkg-buildpackage -us -uc -b
	mv build/deb/*.deb build/

# One package for all releases and machines: it has no code that is compiled.
.PHONY: repository
REPOSITORY = build/repository
repository:
	@[ -n "$(KEY)" ] && [ -n "$(URL)" ] || { echo "say KEY=FINGERPRINT URL=https://..." >&2; exit 2; }
	@$(MAKE) deb
	cd build/deb/chatmaild && dpkg-buildpackage -us -uc -S -d
	debian/repository "$(KEY)" "$(URL)" "$(REPOSITORY)" build/chatmaild_*_all.deb build/deb/*.dsc build/deb/*.tar.*

lintian:
	@tests/rig/bootstrap test
	$(CONTAINER)/test_package.py -k "lintian or bytes"

autopkgtest:
	@tests/rig/bootstrap test
	$(CONTAINER)/test_package.py -k autopkgtest

.PHONY: test-profiles
test-profiles:
	@tests/rig/bootstrap test
	@tests/rig/profile_runs $(PROFILES)
