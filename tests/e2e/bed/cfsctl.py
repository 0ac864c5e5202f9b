"""cfsctl of the crate composefs-ctl, on whose libraries bootc is built: the other opinion on digests."""

import subprocess

from . import crates, toolbox
from .tools import output, remove, run

VERSION = "0.9.4"
# Without FUSE and the storage of containers, which nothing here asks.
FEATURES = ("--no-default-features", "--features", "pre-6.15,pre-6.16,oci")


def program():
    """The program, built the first time, in some minutes."""
    return crates.installed(["cfsctl"], [f"composefs-ctl@{VERSION}"], *FEATURES) / "cfsctl"


def of_directory(tree, version="1"):
    """The digest of a directory, prepared as bootc boots it."""
    command = [program(), "--no-repo", "--hash", "sha512", "--erofs-version", version]
    return output(*command, "compute-id", "--bootable", tree).strip()


def of_layers(layout, repo):
    """The digest of an image's layers; `repo` is made and removed."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run(program(), "--hash", "sha512", "init", "--insecure", repo, **quiet)
    command = [program(), "--repo", repo, "oci"]
    run(*command, "pull", f"oci:{layout}:latest", "image", "--bootable", **quiet)
    found = output(*command, "compute-id", "--bootable", "image").strip()
    remove(repo)
    return found


def agrees(checks, reprofix, tree, what):
    """The digests of a bed's tree, of which a copy is made bootable."""
    if not (toolbox.cache() / "bin/cfsctl").exists():
        print(f"composefs digest of {what} not compared: no cfsctl, which `make sealed` builds")
        return
    copy = tree.with_name(f"{tree.name}-bootable")
    remove(copy)
    run("cp", "-a", "--reflink=auto", tree, copy)
    for name in ("boot", "sysroot"):
        (copy / name).mkdir(exist_ok=True)
    ours = output(reprofix, "composefs", "digest", copy).strip()
    checks.same(f"the composefs digest of {what} is cfsctl's", ours, of_directory(copy))
    remove(copy)
