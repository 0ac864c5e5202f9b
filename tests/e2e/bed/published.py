"""The list published for a double build of Fedora CoreOS 37 (rpm-ostree issue 4305), in one compose.

authselect's files, Java's trust store, os-release, the boot image, and the rpmdb in both its places.
"""

import json
import subprocess

from . import layout, pair
from .tools import remove, run

LIST = (
    "usr/etc/authselect/nsswitch.conf",
    "usr/etc/authselect/system-auth",
    "usr/etc/pki/ca-trust/extracted/java/cacerts",
    "usr/lib/os-release",
    "usr/lib/modules/{kernel}/initramfs.img",
    f"{layout.RPMDB}/rpmdb.sqlite",
    f"{layout.BASE_DB}/rpmdb.sqlite",
)
# What says which build it is, and the plugin that says so: no tool may make that equal.
REPORTED = {
    "usr/lib/os-release": "os-release",
    "usr/lib/modules/{kernel}/initramfs.img": "initramfs",
}


def named(pattern, tree):
    return pattern.format(kernel=layout.kernels(tree)[0])


def reported(tree):
    return {named(path, tree): plugin for path, plugin in REPORTED.items()}


def hold(checks, before, work, reprofix):
    """All of the list differ without reprofix; `fix` leaves what is report-only, explained."""
    trees = [before.tree_of(which) for which in ("a", "b")]
    differing = before.differences()
    for path in LIST:
        path = named(path, trees[0])
        checks.that(f"of the published list, {path} differs", path in differing)
    copies = []
    for which, tree in zip("ab", trees):
        copy = work / f"published-{which}"
        remove(copy)
        run("cp", "-a", "--reflink=auto", tree, copy)
        run(reprofix, "fix", copy, "--quiet", "--source-date-epoch", str(pair.EPOCH))
        copies.append(copy)
    command = [reprofix, "check", *(f"dir:{copy}" for copy in copies), "--json", "-"]
    command += ["--source-date-epoch", pair.EPOCH]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    rows = {row["path"]: row["cause"] for row in json.loads(done.stdout)["differences"]}
    left = reported(trees[0])
    checks.same("after fix only what is report-only remains", sorted(rows), sorted(left))
    for path, cause in rows.items():
        who = cause.get("plugin"), cause["kind"]
        told = who == (left.get(path), "known") and cause["lines"]
        checks.that(f"{path} is explained by {left.get(path)}", told, cause)
        for line in cause.get("lines", []):
            print(f"        {line}")
    for copy in copies:
        remove(copy)
