"""Two composes of one treefile, under circumstances a and b, and what must hold of them."""

import json
import os
import re
import subprocess
from pathlib import Path

from . import commit, oracle, treefile
from .tools import E2E, PROJECT, remove, run, step

VERSION = "1"


class Pair:
    """`source(which, folder)` gives the arguments of `compose` that say what to install."""

    def __init__(self, work, tree, source, reprofix=None):
        self.work, self.tree, self.source, self.reprofix = work, tree, source, reprofix
        self.ref = commit.ref(treefile.load(tree))

    def folder(self, which):
        return self.work / which

    def repo(self, which):
        return self.folder(which) / "tmp/repo"

    def subject(self, which):
        return f"ostree:{self.repo(which)}:{self.ref}"

    def meta_path(self, which):
        return self.folder(which) / "builds" / VERSION / commit.ARCH / "meta.json"

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
        command += ["--workdir", folder, "--root", scratch / "rootfs", "--version", VERSION]
        command += self.source(which, folder)
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
        if self.reprofix:
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
