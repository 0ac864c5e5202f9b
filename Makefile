# make demo      two small composes, without reprofix and with it: what it is for, in three minutes
# make test      cargo's tests, the scripts' lint, the quick bed
# make bed       two real composes of 239 packages
# make initramfs boot images of dracut and initramfs-tools, fixed and booted (FULL=1: all of them)
# make demo-nightly  ten simulated nights of three streams, and all that can go wrong in one
# make rebuilderd    rebuilderd for real: a daemon and two workers on loopback
# make bench     how fast fix and check are, as ratios
# make static    the program, static, so that it runs inside a target root too: hooks/reprofix-static
# make install   PREFIX, DESTDIR

PREFIX ?= /usr/local
CARGO ?= cargo
# The build of the static binary: release, or dev (quicker to build; the tests take it).
PROFILE ?= release

HOST := $(shell rustc -vV | sed -n 's/^host: //p')
# What is installed, and what the benchmarks measure.
RELEASE := target/$(HOST)/release/reprofix
OUTPUT = $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
# Composes need root: mounts, device nodes, chroot.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)
SHELL_SCRIPTS := benches/oci-verify hooks/rebuilderd/backend hooks/rebuilderd/diffoscope tests/e2e/schedulers \
	hooks/postprocess hooks/finalize treefiles/finalize.d/90-reprofix hooks/dracut/*.sh .ci/run tests/e2e/circumstances tests/e2e/deps \
	tests/e2e/install tests/e2e/real-download tests/e2e/static-binary
PYTHON_SCRIPTS := tests/e2e/nightly tests/e2e/flows tests/e2e/recipes tests/e2e/rpm-ostree tests/e2e/rebuilderd tests/e2e/compose tests/e2e/quick tests/e2e/page tests/e2e/quick-packages \
	tests/e2e/real tests/e2e/robust tests/e2e/real-rpms tests/e2e/bed/*.py benches/run benches/check benches/peers benches/rpmdb benches/rpmdb-database fuzz/all fuzz/seeds \
	tests/e2e/initramfs tests/e2e/generators tests/e2e/image-oracle tests/e2e/layer-oracle benches/initramfs

.PHONY: all build demo test bed initramfs nightly demo-nightly rebuilderd bench-nightly bench static install deps lint lint-scripts clean

all: build

build:
	$(CARGO) build --locked

deps:
	tests/e2e/deps

# RUSTFLAGS reaches only the target when --target is given: build scripts stay dynamic.
static:
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --locked --profile $(PROFILE) \
		--no-default-features --features nightly --target $(HOST)
	install -m 0755 target/$(HOST)/$(OUTPUT)/reprofix hooks/reprofix-static

demo: deps build
	$(MAKE) static PROFILE=dev
	$(AS_ROOT) tests/e2e/quick --demo

test: deps lint-scripts
	$(CARGO) test --locked
	$(MAKE) build
	$(MAKE) static PROFILE=dev
	$(AS_ROOT) tests/e2e/static-binary hooks/reprofix-static
	tests/e2e/page
	$(AS_ROOT) tests/e2e/quick
	$(AS_ROOT) tests/e2e/generators

bed: deps build
	$(MAKE) static PROFILE=dev
	$(AS_ROOT) tests/e2e/real

initramfs: deps build
	$(AS_ROOT) tests/e2e/initramfs $(if $(FULL),--full)

# The demo's checks without its prints; .ci/run runs it.
nightly: deps build
	tests/e2e/schedulers
	$(AS_ROOT) tests/e2e/nightly
	$(AS_ROOT) tests/e2e/flows

demo-nightly: deps build
	$(AS_ROOT) tests/e2e/nightly --demo

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

lint: lint-scripts
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features nightly -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

lint-scripts:
	shellcheck $(SHELL_SCRIPTS)
	black --quiet --check --line-length 100 $(PYTHON_SCRIPTS)
	pyflakes3 $(PYTHON_SCRIPTS) 2>/dev/null || python3 -m pyflakes $(PYTHON_SCRIPTS)

install:
	$(MAKE) static PROFILE=release
	$(CARGO) build --locked --release --bin reprofix-content-checksum --bin reprofix-post
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(RELEASE) \
		target/release/reprofix-content-checksum target/release/reprofix-post
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	$(RELEASE) man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(RELEASE) completions bash \
		>$(DESTDIR)$(PREFIX)/share/bash-completion/completions/reprofix
	$(RELEASE) completions zsh \
		>$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_reprofix
	$(RELEASE) completions fish \
		>$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/reprofix.fish
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/lib/reprofix/hooks \
		hooks/postprocess hooks/finalize hooks/reprofix-static
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/reprofix/hooks hooks/Containerfile.snippet
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/lib/reprofix/hooks/rebuilderd \
		hooks/rebuilderd/backend hooks/rebuilderd/diffoscope
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/reprofix/hooks/rebuilderd \
		hooks/rebuilderd/rebuilderd-worker.conf
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/reprofix/hooks/nightly \
		hooks/nightly/reprofix-nightly.service hooks/nightly/reprofix-nightly.timer \
		hooks/nightly/github-workflow.yml hooks/nightly/cronjob.yaml
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/reprofix/treefiles treefiles/reprofix.yaml \
		treefiles/initramfs.yaml
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/lib/reprofix/treefiles/finalize.d treefiles/finalize.d/90-reprofix
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/lib/reprofix/hooks/dracut hooks/dracut/module-setup.sh
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/reprofix/hooks/dracut hooks/dracut/95-reproducible.conf

clean:
	$(CARGO) clean
	rm -f hooks/reprofix-static
