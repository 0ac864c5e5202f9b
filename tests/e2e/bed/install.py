"""Package installation under scriptlets: rpm in given transactions, or dnf from a repository."""

import os
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from .tools import remove, run

# name, major, minor: what scriptlets may expect, as mock and rpm-ostree give it
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9))
DBPATH = "/usr/lib/sysimage/rpm"

DNF_CONF = """\
[main]
gpgcheck=0
plugins=0
reposdir=/nonexistent
cachedir=/var/cache/dnf
persistdir=/var/lib/dnf
logdir=/var/log
install_weak_deps=0
best=1
metadata_expire=0
[bed]
name=bed
baseurl=file://{repository}
"""


@contextmanager
def devices(root):
    """/dev, /dev/shm (with the preloaded clock, see circumstances) and /proc in the target."""
    for name in ("dev", "proc"):
        (root / name).mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=0755", "dev", root / "dev")
    (root / "dev/shm").mkdir()
    mounted = [root / "dev"]
    try:
        for name, major, minor in DEVICES:
            os.mknod(root / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            os.chmod(root / "dev" / name, 0o666)
        run("mount", "--bind", "/dev/shm", root / "dev/shm")
        mounted.append(root / "dev/shm")
        run("mount", "-t", "proc", "proc", root / "proc")
        mounted.append(root / "proc")
        yield
    finally:
        for mount in reversed(mounted):
            run("umount", mount)


def rpm_ostree_times(root):
    """File times as an import into an ostree repository leaves them: 0, but empty files have now."""
    now = time.time()
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in files + folders:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            empty = stat.S_ISREG(info.st_mode) and info.st_size == 0
            moment = now if empty else 0
            os.utime(path, (moment, moment), follow_symlinks=False)


def with_rpm(root, transactions):
    """Install lists of RPM files, one transaction each, times as in an rpm-ostree compose between."""
    root = Path(root)
    common = ["--root", root, "--define", f"_dbpath {DBPATH}", "--define", "_db_backend sqlite"]
    root.mkdir(parents=True, exist_ok=True)
    with devices(root):
        for packages in transactions:
            run("rpm", *common, "--nosignature", "-U", *packages)
            times_without_mounts(root)


def times_without_mounts(root):
    for entry in os.scandir(root):
        if entry.name not in ("dev", "proc") and entry.is_dir(follow_symlinks=False):
            rpm_ostree_times(entry.path)


def with_dnf(root, repository, transactions):
    """Install lists of packages with what they need, one transaction each, with dnf."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bed-home") as home:
        home = Path(home)
        # Debian's rpm keeps its database in ~/.rpmdb unless told otherwise.
        macros = f"%_dbpath {DBPATH}\n%_db_backend sqlite\n"
        (home / ".rpmmacros").write_text(macros)
        conf = home / "dnf.conf"
        conf.write_text(DNF_CONF.format(repository=repository))
        dnf = ["dnf", "-y", "-q", "-c", conf, f"--installroot={root}", "--releasever=1"]
        with devices(root):
            env = dict(os.environ, HOME=str(home))
            for packages in transactions:
                run(*dnf, "--noplugins", "install", *packages, env=env)
        # What dnf itself makes in a root, and rpm-ostree, which calls its library, does not.
        remove(root / "etc/dnf")
