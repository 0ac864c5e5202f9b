# make help      this list
# make demo      two small composes, without reprofix and with it: what it is for, in three minutes
# make test      cargo's tests, the scripts' lint, the quick bed
# make bed       two real composes of 239 packages
# make initramfs boot images of dracut and initramfs-tools, fixed and booted (FULL=1: all of them)
# make makers    makers of boot images of Debian 12, 13 and sid, judged by their kernels; writes docs/initramfs.md
# make newest    the generators of Debian 13 and sid, each run twice; writes docs/newest.md
# make attack    five minutes of attacks: planted paths, swaps, kills, calls that fail, layered file
#                systems, bombs (SECONDS=, SEED=); make attack-kills kills before every mutating call
# make demo-nightly  ten simulated nights of three streams, and all that can go wrong in one
# make recipes  every block of docs/flows.md, run as printed: rpm-ostree emulated, all else real
# make sealed    composefs digests against cfsctl, which bootc is built on: trees, images of buildah
# make rebuilderd    rebuilderd for real: a daemon and two workers on loopback
# make bench     how fast fix and check are, as ratios
# make growth    how time and memory grow with the work; writes docs/speed.md
# make static    the program, static, so that it runs inside a target root too: hooks/reprofix-static
# make install   the static program, its pages, hooks and treefiles: PREFIX, DESTDIR, UNITDIR
# make install-helpers  the two small programs that use libostree and the network

PREFIX ?= /usr/local
CARGO ?= cargo
# The build of the static binary: release, or dev (quicker to build; the tests take it).
PROFILE ?= release

# The machine that the static program is for; by default this one.
TARGET ?= $(shell rustc -vV | sed -n 's/^host: //p')
# Where cargo keeps the sources of crates.
CARGO_HOME ?= $(HOME)/.cargo
# What is installed, and what the benchmarks measure.
RELEASE := target/$(TARGET)/release/reprofix
# Where `make install` puts systemd's units.
UNITDIR ?= $(PREFIX)/lib/systemd/system
OUTPUT = $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
# Composes need root: mounts, device nodes, chroot.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)
# Every script of the project, by its first line.
SCRIPTS := $(shell find .ci benches fuzz hooks packaging tests/e2e treefiles $(wildcard findings) \
	-type f -size -200k ! -path '*/node_modules/*' ! -path 'fuzz/[act]*/*' ! -name reprofix-static)
begins = $(shell awk 'FNR == 1 { if (/^\043!.*$(1)/) print FILENAME; nextfile }' $(SCRIPTS))
SHELL_SCRIPTS := $(call begins,(ba)?sh$$)
PYTHON_SCRIPTS := $(call begins,python3$$) $(wildcard tests/e2e/bed/*.py)

.PHONY: all help build demo test attack attack-kills recipes sealed bed initramfs makers nightly newest demo-nightly rebuilderd bench-nightly bench growth static install helpers install-helpers deps lint lint-scripts clean

all: build
	@echo "target/debug/reprofix is built; \`make help\` lists what else there is."

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

build:
	$(CARGO) build --locked

deps:
	@DEPS="$(DEPS)" tests/e2e/deps

# The static program. RUSTFLAGS reaches only the target when --target is given: build scripts stay
# dynamic. No path of the machine that builds it may get into it. Its 12,000 relative relocations are
# packed (RELR) where the static libc knows them (glibc 2.36): 300 KB that no start reads.
RELR := $(shell getconf GNU_LIBC_VERSION 2>/dev/null | \
	awk '$$1 == "glibc" && $$2 >= 2.36 { print "-C link-arg=-Wl,-z,pack-relative-relocs" }')
static:
	@command -v cc >/dev/null || { echo "make: no C compiler: install Debian's gcc and libc6-dev, Fedora's gcc and glibc-static" >&2; exit 1; }
	RUSTFLAGS='-C target-feature=+crt-static $(RELR) --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(CARGO_HOME)=cargo' \
		$(CARGO) build --locked --profile $(PROFILE) --no-default-features --features nightly --target $(TARGET)
	install -m 0755 target/$(TARGET)/$(OUTPUT)/reprofix hooks/reprofix-static

demo:
	@DEPS="$(DEPS)" tests/e2e/deps demo
	@$(AS_ROOT) tests/e2e/demo --probe
	@$(MAKE) --no-print-directory static PROFILE=dev
	@$(AS_ROOT) tests/e2e/demo

test: deps lint-scripts
	$(CARGO) test --locked
	$(MAKE) build
	$(MAKE) static PROFILE=dev
	$(AS_ROOT) tests/e2e/static-binary hooks/reprofix-static
	tests/e2e/page
	tests/e2e/completions
	$(AS_ROOT) tests/e2e/quick
	$(AS_ROOT) tests/e2e/generators

bed: deps build
	$(MAKE) static PROFILE=dev
	$(AS_ROOT) tests/e2e/real

target/boot-init: tests/e2e/boot-init.rs
	rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols -o $@ $<

initramfs: deps build target/boot-init
	$(AS_ROOT) tests/e2e/initramfs $(if $(FULL),--full)

# The makers of boot images of Debian 12, 13 and sid, with their kernels and readers, into
# docs/initramfs.md.
makers: deps build target/boot-init
	$(AS_ROOT) tests/e2e/makers --write

# Each run chooses anew what it tries, and says the SEED with which it can be repeated.
attack: deps build
	$(AS_ROOT) tests/e2e/attack --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED))

# Before each mutating call of every plugin's cases, some four thousand: a quarter of an hour.
attack-kills: deps build
	$(AS_ROOT) tests/e2e/attack --every-kill $(CASES)

# The demo's checks without its prints; .ci/run runs it.
nightly: deps build
	tests/e2e/schedulers
	$(AS_ROOT) tests/e2e/nightly
	$(AS_ROOT) tests/e2e/flows

# The generators of Debian 13; .ci/run runs it.
generators-trixie: deps build
	$(AS_ROOT) tests/e2e/newest

# The newest generators, of Debian 13 and of sid, into docs/newest.md.
newest: deps build
	$(AS_ROOT) tests/e2e/newest --all --write
	$(AS_ROOT) tests/e2e/newest --all --write --suite sid

demo-nightly: deps build
	@work=$$(mktemp -d -t reprofix-nightly.XXXXXX) && $(AS_ROOT) tests/e2e/nightly --demo --workdir "$$work" && \
		echo "The pages are kept; look at $$work/pages/index.html, and remove $$work when you are done."

recipes: deps build
	$(MAKE) static PROFILE=dev
	$(AS_ROOT) tests/e2e/recipes

# The first time it builds cfsctl, in some minutes.
sealed: deps build
	$(AS_ROOT) tests/e2e/sealed

# A daemon and its workers on loopback. The first time it builds them, in about six minutes.
rebuilderd: deps build
	tests/e2e/rebuilderd

# The record and its pages at 1,000 and at 10,000 runs.
bench-nightly:
	$(CARGO) bench --locked --bench nightly

bench: deps
	$(MAKE) static PROFILE=release
	$(CARGO) bench --locked --no-run --bench floor --bench rpmdb_convert
	$(AS_ROOT) benches/run
	$(AS_ROOT) benches/check
	benches/peers
	benches/rpmdb
	benches/initramfs
	benches/composefs
	benches/images

# How time and memory grow with the work, into docs/speed.md.
growth: deps
	$(MAKE) static PROFILE=release
	benches/growth --write

lint: lint-scripts
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features nightly -- -D warnings
	$(CARGO) check --manifest-path fuzz/Cargo.toml --target-dir target
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

lint-scripts:
	shellcheck $(SHELL_SCRIPTS)
	black --quiet --check --line-length 100 $(PYTHON_SCRIPTS)
	pyflakes3 $(PYTHON_SCRIPTS) 2>/dev/null || python3 -m pyflakes $(PYTHON_SCRIPTS)

# What a compose machine needs is one program; the rest are pages, completions, hooks and treefiles.
install:
	$(MAKE) static PROFILE=release
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(RELEASE)
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	$(RELEASE) man --out $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(RELEASE) completions bash \
		>$(DESTDIR)$(PREFIX)/share/bash-completion/completions/reprofix
	$(RELEASE) completions zsh \
		>$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_reprofix
	$(RELEASE) completions fish \
		>$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/reprofix.fish
	cd hooks && find . -type f ! -name '*.service' ! -name '*.timer' \
		-exec sh -c '[ -x "$$1" ] && mode=0755 || mode=0644; install -D -m $$mode "$$1" "$$2/$$1"' _ {} $(abspath $(DESTDIR)$(PREFIX))/lib/reprofix/hooks \;
	cd treefiles && find . -type f ! -name minimal.yaml \
		-exec sh -c '[ -x "$$1" ] && mode=0755 || mode=0644; install -D -m $$mode "$$1" "$$2/$$1"' _ {} $(abspath $(DESTDIR)$(PREFIX))/lib/reprofix/treefiles \;
	cd $(DESTDIR)$(PREFIX)/lib/reprofix && sed -i 's,/usr/local/,$(PREFIX)/,' treefiles/reprofix.yaml hooks/rebuilderd/rebuilderd-worker.conf
	install -d $(DESTDIR)$(UNITDIR)
	sed 's,/usr/local/,$(PREFIX)/,' hooks/nightly/reprofix-nightly.service >$(DESTDIR)$(UNITDIR)/reprofix-nightly.service
	install -m 0644 -t $(DESTDIR)$(UNITDIR) hooks/nightly/reprofix-nightly.timer
	chmod 0644 $(DESTDIR)$(UNITDIR)/reprofix-nightly.service
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/reprofix \
		README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md LICENSE-MIT LICENSE-APACHE
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/reprofix/docs docs/*.md docs/check.png
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/reprofix/packaging packaging/*
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/reprofix/docs/schema docs/schema/*

# What `record` asks libostree through and what `nightly` posts to a webhook with: two small
# programs that need this system's libraries.
helpers:
	$(CARGO) build --locked --release --bin reprofix-content-checksum --bin reprofix-post

install-helpers: helpers
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin \
		target/release/reprofix-content-checksum target/release/reprofix-post

clean:
	$(CARGO) clean
	rm -f hooks/reprofix-static
