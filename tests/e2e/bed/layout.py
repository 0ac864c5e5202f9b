"""The steps between installation and commit, in rpm-ostree's order (its composepost)."""

import gzip
import json
import os
import re
import shutil
import struct
import tempfile
from pathlib import Path

from . import sandbox
from .tools import output, remove, run, source_date_epoch

RPMDB_PLACES = ("usr/lib/sysimage/rpm", "var/lib/rpm", "root/.rpmdb", "usr/share/rpm")
RPMDB = "usr/share/rpm"
BASE_DB = "usr/lib/sysimage/rpm-ostree-base-db"
ACCOUNT_LEFTOVERS = "passwd- group- shadow- gshadow- subuid- subgid- .pwd.lock".split()
TOP_FOLDERS = {
    "run": 0o755,
    "dev": 0o755,
    "proc": 0o755,
    "sys": 0o755,
    "boot": 0o755,
    "sysroot": 0o755,
    "tmp": 0o1777,
}
TOP_LINKS = {
    "home": "var/home",
    "root": "var/roothome",
    "srv": "var/srv",
    "opt": "var/opt",
    "media": "run/media",
    "mnt": "var/mnt",
    "ostree": "sysroot/ostree",
    "usr/local": "../var/usrlocal",
}
RPM_TIMES = (1008, 1128)  # INSTALLTIME, INSTALLTID


def mkdir(path, mode=0o755):
    """Make a folder with this very mode, and its parents with 0755, whatever the umask."""
    path = Path(path)
    if not path.parent.exists():
        mkdir(path.parent)
    path.mkdir(exist_ok=True)
    path.chmod(mode)


def write(path, text):
    """Write a file of mode 0644, whatever the umask."""
    Path(path).write_text(text)
    os.chmod(path, 0o644)


def link(target, path):
    remove(path)
    os.symlink(target, path)


def usr_layout(root, treefile):
    """The rpmdb to usr/share/rpm, etc to usr/etc, the machine id emptied, the treefile stored."""
    place = next(p for p in RPMDB_PLACES if (root / p / "rpmdb.sqlite").exists())
    if place != RPMDB:
        remove(root / RPMDB)
        os.rename(root / place, root / RPMDB)
    mkdir(root / RPMDB)
    for path, target in (
        ("var/lib/rpm", "../../usr/share/rpm"),
        ("usr/lib/sysimage/rpm", "../../share/rpm"),
    ):
        mkdir((root / path).parent)
        link(target, root / path)
    mkdir(root / "usr/lib/rpm/macros.d")
    write(root / "usr/lib/rpm/macros.d/macros.rpm-ostree", "%_dbpath /usr/share/rpm\n")
    os.rename(root / "etc", root / "usr/etc")
    write(root / "usr/etc/machine-id", "")
    mkdir(root / "usr/share/rpm-ostree")
    write(root / "usr/share/rpm-ostree/treefile.json", json.dumps(treefile, indent=2))


def os_release(root, treefile, version):
    """The version into os-release, in place of the base version that `mutate-os-release` names."""
    base = treefile.get("mutate-os-release")
    if not base:
        return
    place = root / "usr/lib/os-release"

    def mutated(line):
        key = line.partition("=")[0]
        return line.replace(base, version, 1) if key in ("VERSION", "PRETTY_NAME") else line

    lines = [mutated(line) for line in place.read_text().splitlines()]
    remove(place)
    write(place, "\n".join([*lines, f"OSTREE_VERSION='{version}'", ""]))


def in_target(root, path):
    """Where a path of the treefile lies: /etc is usr/etc now."""
    path = path.lstrip("/")
    return root / ("usr/" + path if path.startswith("etc/") else path)


def remove_and_add_files(root, treefile):
    for path in treefile.get("remove-files", []):
        remove(in_target(root, path))
    for source, path in treefile.get("add-files", []):
        place = in_target(root, path)
        if not place.parent.exists():
            mkdir(place.parent)
        shutil.copy(source, place)


def postprocess(root, treefile):
    for number, text in enumerate(treefile.get("postprocess", [])):
        sandbox.postprocess(root, text.encode(), f"rpmostree-postprocess-inline-{number}")
    script = treefile.get("postprocess-script")
    if script:
        name = "rpmostree-treefile-postprocess-script"
        sandbox.postprocess(root, Path(script).read_bytes(), name)


def accounts(root):
    """All accounts but root's go to usr/lib; shadow-utils' backups and lock go."""
    for name in ("passwd", "group"):
        lines = (root / "usr/etc" / name).read_text().splitlines(keepends=True)
        ours = [line for line in lines if line.startswith("root:")]
        write(root / "usr/lib" / name, "".join(line for line in lines if line not in ours))
        write(root / "usr/etc" / name, "".join(ours))
    switch = root / "usr/etc/nsswitch.conf"
    if switch.exists():
        text = re.sub(r"(?m)^((?:passwd|group):\s*files)", r"\1 altfiles", switch.read_text())
        write(switch, text)
    for name in ACCOUNT_LEFTOVERS:
        remove(root / "usr/etc" / name)


def top_level(root):
    """/var emptied, the folders and links of an ostree root."""
    remove(root / "var")
    mkdir(root / "var")
    for name in [*TOP_FOLDERS, *TOP_LINKS]:
        remove(root / name)
    for name, mode in TOP_FOLDERS.items():
        mkdir(root / name, mode)
    for name, target in TOP_LINKS.items():
        os.symlink(target, root / name)
    os.chmod(root, 0o755)


def kernels(root):
    return sorted(path.parent.name for path in root.glob("usr/lib/modules/*/vmlinuz"))


def random_devices_member():
    """The second cpio member that rpm-ostree appends to an initramfs: dev/random, dev/urandom."""
    made = 1575989493

    def entry(inode, name, mode, major=0, minor=0, mtime=made):
        name = name.encode() + b"\0"
        links = 2 if inode == 1 else 1
        fields = (inode, mode, 0, 0, links, mtime, 0, 0, 0, major, minor, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        return head + b"\0" * (-len(head) % 4)

    body = entry(0, ".", 0o40755) + entry(1, "dev", 0o40755)
    body += entry(2, "dev/random", 0o20644, 1, 8) + entry(3, "dev/urandom", 0o20644, 1, 9)
    body += entry(0, "TRAILER!!!", 0, mtime=0)
    return gzip.compress(body + b"\0" * (-len(body) % 512), mtime=made)


def initramfs(root, treefile):
    """dracut in the sandbox, as rpm-ostree runs it, for the newest kernel."""
    kernel = kernels(root)[-1]
    work = root / f"rpmostree-dracut.{os.getpid()}"
    work.mkdir(mode=0o700)
    command = "set -e; dracut --reproducible --add ostree --tmpdir=/tmp/dracut -q"
    command += ' -f /tmp/dracut/initramfs.img "$@"'
    arguments = treefile.get("initramfs-args", ["--no-hostonly"])
    binds = [
        ("--ro-bind", "usr", "/usr"),
        ("--ro-bind", "usr/etc", "/etc"),
        ("--bind", work, "/tmp/dracut"),
    ]
    dracut = ["/bin/bash", "-c", command, "_", *arguments, "--kver", kernel]
    sandbox.bwrap(root, binds, dracut, env={"DRACUT_NO_MKNOD": "1"})
    image = root / "usr/lib/modules" / kernel / "initramfs.img"
    shutil.move(work / "initramfs.img", image)
    shutil.rmtree(work)
    os.chmod(image, 0o644)
    with open(image, "ab") as file:
        file.write(b"\0" * (-file.tell() % 512) + random_devices_member())


def set_install_times(export, epoch):
    """rpm-ostree's rpmdb-normalize: INSTALLTIME and INSTALLTID of every exported header."""
    data = bytearray(export)
    at = 0
    while at < len(data):
        count, size = struct.unpack_from(">II", data, at + 8)
        store = at + 16 + 16 * count
        for index in range(count):
            tag, _, offset, _ = struct.unpack_from(">IIII", data, at + 16 + 16 * index)
            if tag in RPM_TIMES:
                struct.pack_into(">I", data, store + offset, epoch)
        at = store + size
    return bytes(data)


def rewrite_rpmdb(root, treefile):
    """rewrite_rpmdb_for_target: export, wipe, import; then the base copy, hard-linked."""
    database, base = root / RPMDB, root / BASE_DB
    dump = ["rpmdb", f"--dbpath={database}", "--exportdb"]
    export = run(*dump, capture_output=True).stdout
    if treefile.get("rpmdb-normalize") and source_date_epoch():
        export = set_install_times(export, int(source_date_epoch()))
    remove(database)
    mkdir(database)
    load = ["rpmdb", "--define", "_db_backend sqlite", f"--dbpath={database}", "--importdb"]
    run(*load, input=export)
    for name in (".rpm.lock", ".dbenv.lock", "rpmdb.sqlite-shm", "rpmdb.sqlite-wal"):
        path = database / name
        if path.exists() and (path.stat().st_size == 0 or not name.endswith("-wal")):
            path.unlink()
    mkdir(base)
    for name in os.listdir(database):
        os.link(database / name, base / name)


def finalize(root, scripts):
    """finalize.d: on the host, the target is the working folder."""
    for script in scripts:
        print(f"finalize: {Path(script).name}", flush=True)
        run(script, cwd=root)


def package_list(root):
    """name, epoch, version, release, architecture of every package, sorted.

    Asked of a copy: a query leaves side files next to the database.
    """
    query = "%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH}\\n"
    with tempfile.TemporaryDirectory(prefix="bed-rpmdb") as copy:
        shutil.copytree(root / RPMDB, copy, dirs_exist_ok=True)
        lines = output("rpm", f"--dbpath={copy}", "-qa", "--qf", query).splitlines()
    return sorted(line.split() for line in lines)
