"""Two composes of one treefile, under circumstances a and b, and what must hold of them."""

import json
import os
import subprocess

from . import answers, cfsctl, commit, oracle, treefile
from .tools import E2E, PROJECT, remove, run, step

VERSION = "1"
# Of two builds on two days.
VERSIONS = {"a": "12.20261120.0", "b": "12.20261124.0"}
# No time in a tree may be later; before the clocks of both sets of circumstances.
EPOCH = 1_700_000_000


class Pair:
    """`source(which, folder)` gives the arguments of `compose` that say what to install."""

    def __init__(self, work, tree, source, reprofix=None, versions=None, record=True):
        self.work, self.tree, self.source, self.reprofix = work, tree, source, reprofix
        self.record = record
        self.versions = versions or {"a": VERSION, "b": VERSION}
        self.ref = commit.ref(treefile.load(tree))

    def folder(self, which):
        return self.work / which

    def repo(self, which):
        return self.folder(which) / "tmp/repo"

    def subject(self, which):
        return f"ostree:{self.repo(which)}:{self.ref}"

    def meta_path(self, which):
        return self.folder(which) / "builds" / self.versions[which] / commit.ARCH / "meta.json"

    def checksum(self, which):
        return commit.show(self.repo(which), self.ref)[1]

    def tree_of(self, which):
        """The commit checked out, once."""
        place = self.folder(which) / "checkout"
        if not place.exists():
            oracle.checkout(self.repo(which), self.ref, place)
        return place

    def compose(self):
        for which in ("a", "b"):
            with step(f"compose {which} {'with' if self.reprofix else 'without'} reprofix"):
                self.compose_one(which)

    def compose_one(self, which):
        folder = self.folder(which)
        remove(folder)
        scratch = folder / "scratch"
        scratch.mkdir(parents=True)
        command = [E2E / "circumstances", which, scratch, E2E / "compose", self.tree]
        command += ["--workdir", folder, "--root", scratch / "rootfs", "--version"]
        command += [self.versions[which], *self.source(which, folder)]
        # Only what a build service would pass on: a stray PYTHON… variable changes what is built.
        keep = ("PATH", "HOME", "SOURCE_DATE_EPOCH")
        env = {key: os.environ[key] for key in keep if key in os.environ}
        if self.reprofix:
            env["REPROFIX"] = str(self.reprofix)
            command += ["--finalize", PROJECT / "hooks/finalize"]
        log = folder / "log"
        with open(log, "w") as file:
            done = subprocess.run(
                [str(word) for word in command],
                env=env,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        remove(scratch)
        if done.returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise SystemExit(f"compose {which} failed ({log}):\n{tail}")
        if self.reprofix and self.record:
            run(self.reprofix, "record", "--workdir", folder)

    def differences(self):
        return oracle.differences(self.tree_of("a"), self.tree_of("b"))

    def must_differ(self, checks):
        """The half without reprofix."""
        a, b = self.checksum("a"), self.checksum("b")
        print(f"content checksums without reprofix:\n  {a}\n  {b}")
        checks.that("two composes have two content checksums", a != b)
        found = self.differences()
        print(f"{len(found)} paths differ:")
        for path, kinds in found.items():
            print(f"  {','.join(kinds):16} {path}")
        for which in ("a", "b"):
            recomputed = oracle.content_checksum(self.tree_of(which))
            same = recomputed == self.checksum(which)
            checks.that(f"the oracle recomputes the content checksum of {which}", same)

    def check_command(self, reprofix, *more):
        command = [reprofix, "check", self.subject("a"), self.subject("b")]
        return [str(word) for word in [*command, "--source-date-epoch", EPOCH, *more]]

    def check(self, reprofix):
        """`reprofix check` of the two commits: exit code and report."""
        command = self.check_command(reprofix, "--json", "-")
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stderr, end="")
        return done.returncode, json.loads(done.stdout) if done.stdout else {}

    def show(self, reprofix):
        """What `reprofix check` of the two commits says to people."""
        print("\n$ reprofix check A B", flush=True)
        subprocess.run(self.check_command(reprofix), stdin=subprocess.DEVNULL)
        print(flush=True)

    def explained(self, checks, reprofix, reported=()):
        """`check` of the half without reprofix names every path, each with what would fix it; but
        what is `reported` no tool may fix."""
        code, report = self.check(reprofix)
        checks.same("check exits 1", code, 1)
        named = {row["path"]: row["cause"] for row in report["differences"]}
        checks.same(
            "check names every path that differs", sorted(named), sorted(self.differences())
        )
        for path, cause in named.items():
            by = ", ".join(cause.get("plugins", []))
            wanted = ("known",) if path in reported else ("fixed", "cascade")
            known = cause["kind"] in wanted
            checks.that(f"explained: {path} ({by or cause['kind']})", known, cause)

    def must_be_one(self, checks, before):
        """The half with reprofix."""
        a, b = self.checksum("a"), self.checksum("b")
        print(f"content checksums with reprofix:\n  {a}\n  {b}")
        if not checks.same("two composes have one content checksum", a, b):
            for path, kinds in self.differences().items():
                print(f"  {','.join(kinds):16} {path}")
            self.show(self.reprofix)
        code, _ = self.check(self.reprofix)
        checks.same("check exits 0", code, 0)
        cfsctl.agrees(checks, self.reprofix, self.tree_of("a"), f"the tree in {self.work.name}")
        for which in ("a", "b"):
            self.recorded(checks, which)
            self.left_clean(checks, which)
            self.in_normal_form(checks, which)
            self.answers_as_before(checks, before, which)

    def recorded(self, checks, which):
        values = json.loads(self.meta_path(which).read_text())
        written = values.get("ostree-content-checksum")
        checks.same(f"meta.json of {which} records it", written, self.checksum(which))
        sidecar = json.loads((self.meta_path(which).parent / "reprofix.json").read_text())
        told = self.checksum(which) in json.dumps(sidecar)
        checks.that(f"reprofix.json of {which} tells it", told)

    def left_clean(self, checks, which):
        """No file is named after reprofix, and only the treefile speaks of it."""
        root = self.tree_of(which)
        names, contents = [], []
        for path in oracle.scan(root):
            if b"reprofix" in path.lower():
                names.append(path)
            file = root / os.fsdecode(path)
            if file.is_file() and not file.is_symlink() and b"reprofix" in file.read_bytes():
                contents.append(os.fsdecode(path))
        checks.same(f"nothing in {which} is named after reprofix", names, [])
        checks.same(
            f"only the treefile speaks of reprofix in {which}",
            contents,
            ["usr/share/rpm-ostree/treefile.json"],
        )

    def in_normal_form(self, checks, which):
        # A checkout has times of its own: a commit holds none.
        command = [self.reprofix, "fix", "--check", "--skip", "mtime", self.tree_of(which)]
        command += ["--source-date-epoch", EPOCH]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        checks.that(
            f"fix has nothing left to do in {which}",
            done.returncode == 0,
            done.stdout + done.stderr,
        )

    def answers_as_before(self, checks, before, which):
        """The last, since rpm writes side files into what it queries."""
        ours, theirs = self.tree_of(which), before.tree_of(which)
        new, old = answers.questions(ours), answers.questions(theirs)
        for question, answer in new.items():
            checks.that(f"rpm {question} answers as before in {which}", answer == old[question])
        checks.that(f"rpm finds packages in {which}", len(new["-qa"]) > 20)
        checks.same(
            f"rpm -Va answers as before in {which}",
            answers.verification(ours),
            answers.verification(theirs),
        )
        code, text = answers.verifydb(ours)
        checks.that(f"rpmdb --verifydb finds {which} sound", code == 0, text)
