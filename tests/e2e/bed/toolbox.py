"""Roots of newer distributions, made from packages, whose tools run on layers of their own.

A root is made once by mmdebstrap and kept in the cache. Each use sees it below an overlay: what a tool
writes is then a small tree of its own, with every path where the tool put it.
"""

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

from .tools import E2E, apt_lists, remove, run

# Dpkg starts no services, and a frozen mirror of sid is dated: its signature is checked all the same.
OPTIONS = (
    'Acquire::Languages "none"',
    'Acquire::Check-Valid-Until "false"',
)
# What the tools of a root may see of the machine around it.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Mounts below a root in a name space of its own; the command that follows runs in it.
ENTER = """
set -eu
root=$1
shift
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount --rbind /dev "$root/dev"
cd /
exec chroot "$root" "$@"
"""


class Unavailable(Exception):
    """A root that cannot be had here."""


def cache():
    """The folder of what is worth keeping between runs, as `.ci/run` has it."""
    place = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", "/root")) / ".cache"
    return Path(place) / "reprofix-ci"


def mirror():
    """The mirror of Debian to ask: REPROFIX_MIRROR, else the one that apt is configured with."""
    if named := os.environ.get("REPROFIX_MIRROR"):
        return named
    apt_lists()
    listing = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    said = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    for uri in said.splitlines():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise Unavailable("apt has no mirror of Debian configured: name one in REPROFIX_MIRROR")


def root(suite, packages, limit, purpose=""):
    """A root with these packages, from the cache or made anew within `limit` seconds. The cache has
    one of each suite and purpose."""
    wanted = "\n".join(sorted(packages))
    kind = f"{purpose}{suite}"
    name = f"{kind}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    place = cache() / "roots" / name
    if (place / ".made").exists():
        return place
    if not shutil.which("mmdebstrap"):
        raise Unavailable("mmdebstrap is not installed (tests/e2e/deps)")
    for old in place.parent.glob(f"{kind}-*"):
        remove(old)
    place.parent.mkdir(parents=True, exist_ok=True)
    log = place.parent / f"{kind}.log"
    policy = 'printf "#!/bin/sh\\nexit 101\\n" >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"'
    command = [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--dpkgopt=force-unsafe-io",
        # They say of what day the archive is, and apt makes its caches of them.
        "--skip=cleanup/apt/lists",
        f"--essential-hook={policy}",
    ]
    command += [f"--aptopt={option}" for option in OPTIONS]
    command += [
        f"--include={','.join(sorted(packages))}",
        suite,
        place,
        f"deb {mirror()} {suite} main",
    ]
    try:
        with log.open("w") as out:
            run(*command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=limit)
    except subprocess.CalledProcessError:
        remove(place)
        said = [line for line in log.read_text().splitlines() if line.startswith("E:")]
        raise Unavailable(said[0] if said else f"mmdebstrap failed: {log}") from None
    except subprocess.TimeoutExpired:
        remove(place)
        raise Unavailable(f"mmdebstrap took more than {limit} s") from None
    (place / ".made").touch()
    return place


def date(suite, place):
    """The day of the archive that a root was made from."""
    for release in sorted((place / "var/lib/apt/lists").glob(f"*_dists_{suite}_InRelease")):
        for line in release.read_text(errors="replace").splitlines():
            if line.startswith("Date: "):
                return line.removeprefix("Date: ")
    return "unknown"


def entering(place, script, **env):
    """The words for `subprocess.run` with which a script runs in a root."""
    command = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--kill-child", "sh", "-c", ENTER]
    command += ["sh", place, "sh", "-euc", script]
    return {
        "args": [str(word) for word in command],
        "env": {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", **env},
        "stdin": subprocess.DEVNULL,
    }


def inside(place, script, **env):
    """What a script prints in a root; nothing of it stays mounted. A failure is the caller's."""
    return subprocess.run(
        **entering(place, script, **env),
        capture_output=True,
        text=True,
        errors="replace",
        # A faked clock and a limit do not go together.
        timeout=None if "LD_PRELOAD" in env else 300,
    )


def layered(lower, upper, work, target):
    """Mounts a root with what is in `upper` over it."""
    for place in (upper, work, target):
        Path(place).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "overlay", "-o", options, target)


def unmount(target):
    run("umount", "--recursive", target)


def taken(upper, tree):
    """Copies a layer without what the overlay keeps for itself: its marks and its attributes."""
    run("cp", "-dR", "--preserve=mode,ownership,timestamps,links", upper, tree)
    for folder, folders, files in os.walk(tree):
        for name in [*folders, *files]:
            path = Path(folder) / name
            found = path.lstat()
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                path.unlink()
            elif not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                if not stat.S_ISLNK(found.st_mode):
                    path.unlink()


def circumstances(side, scratch, *command):
    """Runs a command in one of the two sets of circumstances."""
    env = {key: os.environ[key] for key in ("PATH", "HOME", "XDG_CACHE_HOME") if key in os.environ}
    words = [E2E / "circumstances", side, scratch, *command]
    run(*words, env=env, stdin=subprocess.DEVNULL)
