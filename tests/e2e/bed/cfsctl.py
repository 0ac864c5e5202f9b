"""cfsctl of the crate composefs-ctl, on whose libraries bootc is built: the other opinion on digests."""

import subprocess

from . import crates
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
