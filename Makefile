# Delegates only: the extension is built by PGXS, the daemon by CMake, the tests by tests/run.py.
#   PG_CONFIG=…   the PostgreSQL to build for and test on        SECONDS=N    how long `make demo` runs (default: until Ctrl-C)
#   LAYERS="…"    only these layers of the tests (tests/run.py --list)

PG_CONFIG ?= pg_config
PYTHON := /usr/bin/python3
BUILD := $(CURDIR)/build
JOBS := $(shell nproc)
UNITS := /usr/local/lib/systemd/system
EXAMPLES := /usr/local/share/doc/topk
PG_MAKE := $(MAKE) --no-print-directory -C extension PG_CONFIG=$(PG_CONFIG)
export PG_CONFIG

# $(call daemon,FOLDER,CMAKE OPTIONS,TARGET): configures once, then builds what changed
daemon = test -f $(BUILD)/$(1)/build.ninja || cmake -S daemon -B $(BUILD)/$(1) -G Ninja $(2) > /dev/null; \
         cmake --build $(BUILD)/$(1) -j $(JOBS) --target $(or $(3),all)

.PHONY: all deps kafka extension daemon test-builds install install-units uninstall demo test soak bench lint format clean

all: extension daemon

deps:
	@PG_CONFIG=$(PG_CONFIG) docker/deps.sh
	@tests/kafka/kafka.sh install
	@tests/page/axe.sh > /dev/null

extension:
	@$(PG_MAKE) all

daemon:
	@$(call daemon,daemon,)

install: all
	@$(PG_MAKE) install
	install -D -m 755 $(BUILD)/daemon/topkd $(DESTDIR)/usr/local/bin/topkd
	@$(MAKE) --no-print-directory install-units

# systemd looks there for what was built here; enabling is up to the administrator (docker/README.md)
install-units:
	install -d $(DESTDIR)$(UNITS) $(DESTDIR)$(EXAMPLES)
	install -m 644 docker/systemd/*.service $(DESTDIR)$(UNITS)
	install -m 644 docker/systemd/*.example $(DESTDIR)$(EXAMPLES)

uninstall:
	@$(PG_MAKE) uninstall
	rm -f $(DESTDIR)/usr/local/bin/topkd
	rm -f $(patsubst docker/systemd/%,$(DESTDIR)$(UNITS)/%,$(wildcard docker/systemd/*.service))
	rm -f $(patsubst docker/systemd/%,$(DESTDIR)$(EXAMPLES)/%,$(wildcard docker/systemd/*.example))

# The builds that only tests use: sanitizers, the fuzzer, fault points, and the extension without one safeguard each
test-builds: all
	@$(PG_MAKE) topk_no_cas.so topk_overwrite_bound.so topk_heap_only_tid.so topk_core_build_scan.so
	@$(call daemon,fault,-DTOPKD_TESTS=ON -DTOPKD_FAULT_POINTS=ON)
	@$(call daemon,asan,-DTOPKD_TESTS=ON -DTOPKD_SANITIZE=address,topkd_unit)
	@$(call daemon,tsan,-DTOPKD_TESTS=ON -DTOPKD_SANITIZE=thread,topkd_unit)
	@CC=clang CXX=clang++ && export CC CXX && $(call daemon,fuzz,-DTOPKD_FUZZ=ON)

demo: deps all
	@tests/demo/demo.sh $(SECONDS)

test: deps
	@$(PYTHON) tests/run.py test $(LAYERS)

soak: deps
	@$(PYTHON) tests/run.py soak $(LAYERS)

bench: deps all
	@$(call daemon,bench-daemon,-DTOPKD_BENCH=ON,topkd_hot_path)
	@$(call daemon,daemon,,upsert_ingest)
	@tests/bench/run.sh

lint:
	@tests/lint.sh

format:
	@git ls-files '*.cpp' '*.h' | xargs clang-format -i

clean:
	@$(PG_MAKE) clean
	rm -rf $(BUILD)
