"""The hooks, in the flows of docs/flows.md that the beds' own composes do not go through.

Each takes the trees of two composes without reprofix and must give one content checksum.
"""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from . import oracle
from .tools import PROJECT, output, remove, run

STATIC = PROJECT / "hooks/reprofix-static"
# What a container engine puts into the root of what it runs.
OF_THE_ENGINE = ("run", "dev", "proc", "sys", "tmp", "etc/hosts", "etc/resolv.conf", "etc/hostname")

BUILDER = """\
FROM scratch
COPY builder /
COPY target /target-rootfs
"""
BOOTC = """\
FROM scratch
COPY target /
ARG SOURCE_DATE_EPOCH
RUN --mount=type=bind,source=reprofix-static,target=/run/reprofix \\
    SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH}" /run/reprofix fix / --force-host-root --quiet
"""


def copy(tree, place):
    remove(place)
    run("cp", "-a", tree, place)
    return place


def with_etc(tree, place):
    """A tree as a container has it: usr/etc is etc, and there is a place for what it mounts."""
    copy(tree, place)
    os.rename(place / "usr/etc", place / "etc")
    return place


class Buildah:
    """An own store, so that nothing was built before (docs/flows.md, the layer cache)."""

    def __init__(self, work, epoch):
        self.store = work / "store"
        self.command = ["buildah", "--root", self.store, "--runroot", work / "runroot"]
        self.command += ["--storage-driver", "vfs"]
        self.epoch = epoch

    def build(self, context):
        command = [*self.command, "build", "--quiet", "--isolation", "chroot", "--layers=false"]
        command += ["--build-arg", f"SOURCE_DATE_EPOCH={self.epoch}", context]
        return output(*command, stdin=subprocess.DEVNULL).split()[-1]

    @contextmanager
    def root(self, image):
        container = output(*self.command, "from", image).strip()
        try:
            yield Path(output(*self.command, "mount", container).strip())
        finally:
            run(*self.command, "rm", container, stdout=subprocess.DEVNULL)


def containerfile(buildah, trees, work, text, target, below):
    """Build one image a tree; gives what each has in the folder `below`, as a content checksum."""
    sums = []
    for tree in trees:
        context = work / "context"
        remove(context)
        context.mkdir()
        run("cp", STATIC, context / "reprofix-static")
        target(tree, context / "target")
        if "builder" in text:
            with_etc(trees[0], context / "builder")
        (context / "Containerfile").write_text(text)
        with buildah.root(buildah.build(context)) as root:
            for name in OF_THE_ENGINE if below == "." else ():
                remove(root / name)
            sums.append(oracle.content_checksum(root / below))
    return sums


def postprocess_leaves_nothing(checks, tree, work):
    """The hook fails where fix fails, and takes the binary away all the same."""
    root = with_etc(tree, work / "root")
    run("cp", STATIC, root / "usr/bin/reprofix-static")
    run("cp", PROJECT / "hooks/postprocess", root / "usr/bin/hook")
    command = [shutil.which("chroot"), str(root), "/bin/sh", "/usr/bin/hook"]
    done = subprocess.run(command, env={"PATH": "/usr/bin"}, capture_output=True, text=True)
    checks.that(
        "hooks/postprocess fails without an epoch", done.returncode == 2, done.stdout + done.stderr
    )
    checks.that("... and says why", "SOURCE_DATE_EPOCH" in done.stderr, done.stderr)
    checks.that("... and removes the binary", not (root / "usr/bin/reprofix-static").exists())


def finalize(trees, work, reprofix, epoch):
    """`compose rootfs`, then hooks/finalize on the folder it made."""
    sums = []
    for tree in trees:
        root = copy(tree, work / "rootfs")
        env = dict(os.environ, REPROFIX=str(reprofix), SOURCE_DATE_EPOCH=str(epoch))
        run(PROJECT / "hooks/finalize", root, env=env, stdout=subprocess.DEVNULL)
        sums.append((oracle.content_checksum(root), int(root.stat().st_mtime)))
    return sums


def hold(checks, trees, work, reprofix, epoch):
    """Every flow, on the trees of two composes that differ."""
    work.mkdir(exist_ok=True)
    checks.that("the trees differ before", len(set(map(oracle.content_checksum, trees))) == 2)
    postprocess_leaves_nothing(checks, trees[0], work)
    (a, time), (b, _) = finalize(trees, work, reprofix, epoch)
    checks.same("compose rootfs and hooks/finalize: one content checksum", a, b)
    checks.that("... and the folder's own time is clamped", time <= epoch, time)
    buildah = Buildah(work, epoch)
    text = BUILDER + (PROJECT / "hooks/Containerfile.snippet").read_text()
    a, b = containerfile(buildah, trees, work, text, copy, "target-rootfs")
    checks.same("hooks/Containerfile.snippet: one content checksum", a, b)
    a, b = containerfile(buildah, trees, work, BOOTC, with_etc, ".")
    checks.same("a RUN line of a bootc image: one content checksum", a, b)
    remove(work)
