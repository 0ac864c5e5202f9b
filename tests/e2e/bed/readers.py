"""What the readers of boot images list and extract: the same before `fix` and after."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .tools import remove

# What undoes a compression, by the first bytes; GNU cpio is given what comes out.
UNPACKERS = {
    b"\x1f\x8b": "gzip -dc",
    b"BZh": "bzip2 -dc",
    b"\xfd7zXZ": "xz -dc",
    b"\x5d\0\0": "xz --format=lzma -dc",
    b"\x02\x21\x4c\x18": "lz4 -dcq",
    b"\x28\xb5\x2f\xfd": "zstd -dcq --long=31",
    b"\x89LZO": "lzop -dc",
}
# A reader's program, what it lists with, and what it extracts with into the current folder.
READERS = {
    "cpio": ("cpio", "{unpack} <{image} | cpio -itv", "{unpack} <{image} | cpio -idm"),
    "bsdtar": ("bsdtar", "bsdtar -tvf {image}", "bsdtar -xpf {image}"),
    "3cpio": ("3cpio", "3cpio -tv {image}", "3cpio -xp {image}"),
    "lsinitrd": (
        "lsinitrd",
        "lsinitrd {image}",
        "lsinitrd --unpackearly {image}; lsinitrd --unpack {image}",
    ),
    "unmkinitramfs": ("unmkinitramfs", "lsinitramfs -l {image}", "unmkinitramfs {image} ."),
}
# A line of `ls -l`: mode, links, owner, group, size or device, date, name.
LISTED = re.compile(
    r"([-dlcbps][-rwxsStT]{9})\s+(\d+)\s+(\S+)\s+(\S+)\s+(.*?)\s+[A-Z][a-z]{2}\s+\d+\s+[\d:]+\s(.*)"
)


def installed():
    """The readers that are here; the others are named."""
    found = [name for name, (program, *_) in READERS.items() if shutil.which(program)]
    for name in sorted(READERS.keys() - set(found)):
        print(f"skipped: reader {name}, which is not installed")
    return found


def listed(text):
    """Mode, owner, device and name of each line; times, sizes of links and their targets among
    hard links are what `fix` may change."""
    found = set()
    for line in text.splitlines():
        if match := LISTED.fullmatch(line):
            mode, _, owner, group, size, name = match.groups()
            device = size.replace(" ", "") if mode[0] in "bc" else ""
            name = name.split(" link to ")[0].removeprefix("./").removesuffix("/")
            if name not in REMOVED:
                found.add((mode, owner, group, device, name))
    return sorted(found)


# What reprofix changes inside of an image: its recorded paths, and the order of accounts.
CHANGED = re.compile(r"(.*/)?((usr/)?lib/dracut/build-parameter\.txt|etc/g?(passwd|group|shadow))")


# What it removes there: the building machine's identity.
REMOVED = {"etc/machine-id"}


def node(path):
    """Of a path on disk what `fix` does not change."""
    found = path.lstat()
    content = ""
    if CHANGED.fullmatch(str(path)):
        return oct(found.st_mode), found.st_uid, found.st_gid, 0, content
    if stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(found.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return oct(found.st_mode), found.st_uid, found.st_gid, found.st_rdev, content


def extracted(folder):
    found = ((str(path.relative_to(folder)), node(path)) for path in folder.rglob("*"))
    return sorted(entry for entry in found if entry[0] not in REMOVED)


def reading(name, image):
    """What a reader lists and extracts of an image; nothing where it does not know its form."""
    with open(image, "rb") as file:
        head = file.read(8)
    unpack = next((how for magic, how in UNPACKERS.items() if head.startswith(magic)), "cat")
    folder = Path(tempfile.mkdtemp(prefix="reprofix-reader.", dir=image.parent))
    try:
        pipes = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 300}
        commands = [
            f"umask 0; {how.format(image=image.resolve(), unpack=unpack)}"
            for how in READERS[name][1:]
        ]
        words = (["bash", "-c", command] for command in commands)
        done = [
            subprocess.run(command, cwd=folder, env=os.environ | {"LC_ALL": "C"}, **pipes)
            for command in words
        ]
        if any(program.returncode for program in done):
            return [], []
        return listed(done[0].stdout.decode(errors="replace")), extracted(folder)
    finally:
        remove(folder)


def compared(name, before, after):
    """What a reader says of an image before and otherwise after: lines, and how much it read."""
    old, new = (reading(name, image) for image in (before, after))
    if not old[0]:
        return [], (0, 0)
    lines = [f"{name}: {item}" for old, new in zip(old, new) for item in only(old, new)]
    return lines, (len(old[0]), len(old[1]))


def only(old, new):
    """What one list has and the other has not."""
    left, right = set(old), set(new)
    return [f"only {which}: {item}" for which, items in (("before", left - right), ("after", right - left)) for item in sorted(items)]  # fmt: skip


def hold(checks, names, images):
    """Every reader on every image, a triple of its name and its paths before and after."""
    jobs = [(reader, *image) for image in images for reader in names]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda job: compared(job[0], *job[2:]), jobs))
    failed, read = {}, {}
    for (reader, image, *_), (lines, _) in zip(jobs, found):
        if lines:
            failed.setdefault(reader, []).append(f"{image}: {lines[0]}")
    for reader in names:
        counts = [count for job, (_, count) in zip(jobs, found) if job[0] == reader]
        whole = sum(1 for listed, unpacked in counts if listed and unpacked)
        what = f"{reader} lists and extracts the same of {len(counts)} images, and reads {whole}"
        # Of one image a reader may not know the form.
        some = whole or len(counts) == 1
        checks.that(what, reader not in failed and some, "\n".join(failed.get(reader, [])[:20]))
        read[reader] = (whole, failed.get(reader, []))
    return read
