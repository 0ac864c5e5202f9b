"""Bubblewrap as rpm-ostree uses it: the same mounts, capabilities and environment."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from .tools import clean_environment, run

CAPABILITIES = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap sys_chroot setfcap".split()
)
USR_LINKS = ("lib", "lib32", "lib64", "bin", "sbin")


def arguments(root):
    """bwrap's arguments that do not depend on what is run."""
    argv = ["--dev", "/dev", "--proc", "/proc", "--dir", "/run", "--dir", "/tmp", "--chdir", "/"]
    argv += ["--die-with-parent", "--unshare-pid", "--unshare-uts", "--unshare-ipc"]
    argv += ["--unshare-cgroup-try", "--unshare-net", "--cap-drop", "ALL"]
    for name in ("block", "bus", "class", "dev", "devices"):
        argv += ["--ro-bind", f"/sys/{name}", f"/sys/{name}"]
    for name in CAPABILITIES:
        argv += ["--cap-add", f"cap_{name}"]
    for name in USR_LINKS:
        if (root / name).is_symlink():
            argv += ["--symlink", f"usr/{name}", f"/{name}"]
    return argv


def bwrap(root, binds, command, env=None):
    """Run a command with `root` as /. The binds are (option, from, to)."""
    argv = [shutil.which("bwrap"), *arguments(root)]
    for bind in binds:
        argv += [str(word) for word in bind]
    subprocess.run(argv + command, cwd=root, env=clean_environment(**(env or {})), check=True)


@contextmanager
def rofiles(folder):
    """`folder` through rofiles-fuse with copy-up: hard links are broken before they are written."""
    mount = tempfile.mkdtemp(prefix="rpmostree-rofiles-fuse")
    run("rofiles-fuse", "--copyup", folder, mount)
    try:
        yield mount
    finally:
        run(shutil.which("fusermount3") or "fusermount", "-u", mount)
        os.rmdir(mount)


def rofiles_work():
    """Whether rofiles-fuse is to be had here."""
    return bool(shutil.which("rofiles-fuse")) and os.access("/dev/fuse", os.R_OK | os.W_OK)


@contextmanager
def etc_in_place(root):
    """rpm-ostree's prepare_tempetc_guard: usr/etc is etc while scripts run."""
    os.rename(root / "usr/etc", root / "etc")
    os.symlink("../etc", root / "usr/etc")
    try:
        yield
    finally:
        os.unlink(root / "usr/etc")
        os.rename(root / "etc", root / "usr/etc")


def postprocess(root, script, name):
    """Run one postprocess script (bytes) in the target root and remove it, as rpm-ostree does."""
    root = Path(root)
    placed = root / "usr/bin" / name
    placed.write_bytes(script)
    placed.chmod(0o755)
    command = [f"/usr/bin/{name}"]
    try:
        with etc_in_place(root):
            if rofiles_work():
                with rofiles(root / "usr") as usr, rofiles(root / "etc") as etc:
                    binds = [
                        ("--bind", usr, "/usr"),
                        ("--bind", etc, "/etc"),
                        ("--ro-bind", "var", "/var"),
                    ]
                    bwrap(root, binds, command)
            else:
                print("no rofiles-fuse here: plain writable binds, as without unified core")
                binds = [("--bind", name, f"/{name}") for name in ("usr", "etc", "var")]
                bwrap(root, binds, command)
    finally:
        placed.unlink()
