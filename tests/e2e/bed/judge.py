"""The kernel as judge: what it unpacks of an image before `fix` and after, and what it says.

An init of ours (boot-init.rs) stands in an archive before the image and prints every path. Small
images have their trees in folders of their own, so that one boot judges many of them, each behind
the other as boot loaders put them; `reprofix initramfs ls --unpacked` must say the same as the
kernel.
"""

import gzip
import itertools
import re
import shutil
import struct
import subprocess

from . import layout
from .tools import PROJECT, output, remove, run

MARKER = "REPROFIX-BOOTED"
INIT = PROJECT / "target/boot-init"
# Later than the epoch of the bed, so that it is clamped.
LATE = 1_750_000_000


def entry(number, name, mode, data=b"", align=4, at=0, links=1):
    """An entry of a newc archive at an offset, its content aligned by NULs behind the name."""
    name = name.encode() + b"\0"
    if align > 4:
        name += b"\0" * (-(at + 110 + len(name)) % align)
    fields = (number, mode, 0, 0, links, LATE, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    head += b"\0" * (-(at + len(head)) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def archive(entries, align=4):
    """A plain archive of (name, mode, content)."""
    out = b""
    for number, (name, mode, data) in enumerate(entries, 1):
        large = len(data) >= align
        out += entry(number, name, mode, data, align if large else 4, len(out))
    out += entry(0, "TRAILER!!!", 0)
    return out + b"\0" * (-len(out) % 512)


def own():
    """The archive with the init."""
    init = ("reprofix-init/init", 0o100755, INIT.read_bytes())
    return archive([("reprofix-init", 0o040755, b""), init])


def boot(vmlinuz, image, scratch, seconds=300):
    """Boot it in an emulated machine; gives each path's line, and what the kernel complained of."""
    joined = scratch / "judged.img"
    with open(joined, "wb") as file:
        file.write(own())
        with open(image, "rb") as source:
            shutil.copyfileobj(source, file)
    command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "1024", "-nographic", "-no-reboot"]
    command += ["-nodefaults", "-serial", "stdio", "-kernel", vmlinuz, "-initrd", joined]
    # An emulated timer is late on a busy machine, and the kernel gives up: no_timer_check.
    ours = "console=ttyS0 loglevel=1 rdinit=/reprofix-init/init panic=-1 no_timer_check"
    command += ["-append", ours]
    try:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        done = subprocess.run(
            [str(word) for word in command], stderr=subprocess.STDOUT, timeout=seconds, **pipes
        )
        text = done.stdout
    except subprocess.TimeoutExpired as late:
        text = late.stdout or b""
    joined.unlink()
    lines = text.decode(errors="replace").replace("\r", "").splitlines()
    # The firmware's last words may stand before the first line.
    first = [n for n, line in enumerate(lines) if line.endswith(MARKER)]
    last = [n for n, line in enumerate(lines) if line == f"{MARKER}-END"]
    if not first or not last:
        print("\n".join(lines[-15:]))
        return {}, ["it did not boot"]
    said = [line for line in lines[: first[0]] if re.search(r"\[ *\d+\.\d+\]", line)]
    return by_path(lines[first[0] + 1 : last[0]]), said


def by_path(lines):
    """Fields by path: mode, owner, links, device, time, digest."""
    found = {}
    for line in lines:
        mode, owner, links, device, time, digest, path = line.split(" ", 6)
        found[path] = (mode, owner, links, device, time, digest)
    return found


def modelled(tool, image):
    """What reprofix says that the kernel unpacks."""
    return by_path(
        output(tool, "initramfs", "ls", "--unpacked", image, errors="replace").splitlines()
    )


def mistold(model, tree):
    """What the model says otherwise than the kernel. `-` is a time that is none of the image's:
    that of the kernel's own first archive."""
    timeless = {path for path, line in model.items() if line[4] == "-"}
    known = {
        path: (*line[:4], "-", line[5]) if path in timeless else line for path, line in tree.items()
    }
    return difference(model, known)


def clamped(tree, epoch, links):
    """A tree with times at most the epoch, without the numbers of links unless they must stay."""
    out = {}
    for path, (mode, owner, names, device, time, digest) in tree.items():
        time = time if time == "-" else str(min(int(time), epoch))
        out[path] = (mode, owner, names if links else "-", device, time, digest)
    return out


def difference(left, right):
    """Lines of what two trees differ in."""
    paths = sorted(path for path in left.keys() | right.keys() if left.get(path) != right.get(path))
    return [f"{path}: {left.get(path)} | {right.get(path)}" for path in paths]


# A tree with all that an image may hold, under a folder of its own; dracut's has its library.
TREE = """
set -eu
umask 022
mkdir -p "$1/usr/lib/d" "$1/etc" "$1/dev" "$1/empty" "$1/sticky"
chmod 1777 "$1/sticky"
chmod 2750 "$1/empty"
seq 1 3000 >"$1/usr/lib/large"
seq 1 3000 >"$1/usr/lib/twin"
echo "the same text" >"$1/etc/b"
echo "the same text" >"$1/etc/c"
: >"$1/etc/none"
chmod 4755 "$1/usr/lib/twin"
chown 7:8 "$1/etc/c"
ln -s ../usr/lib/large "$1/etc/link"
mknod "$1/dev/null" c 1 3
mknod "$1/dev/disk" b 259 65537
mkfifo "$1/dev/pipe"
echo x >"$1/usr/lib/d/with space"
if [ "$2" != unlinked ]; then
    ln "$1/etc/b" "$1/etc/a"
    ln "$1/dev/null" "$1/dev/zero"
fi
[ "$2" != dracut ] || mkdir -p usr/lib/dracut
find . -exec touch -h -d @1750000000 {} +
touch -h -d @1500000000 "$1/etc/link" "$1/usr/lib/large" "$1/dev/pipe" "$1/empty"
"""

# What writes archives: its command, which reads names from standard input, and the tree that it
# gets. dracut and initramfs-tools use GNU cpio, mkinitcpio bsdtar (through a tar archive, where
# hard links become entries of no type, which the kernel drops: so it gets none), Alpine busybox.
MAKERS = {
    "dracut": ("cpio -o -H newc --quiet", "dracut"),
    "cpio": ("cpio -o -H newc --quiet", "linked"),
    "cpio-crc": ("cpio -o -H crc --quiet", "linked"),
    "mkinitcpio": (
        "sed 's,^./,,' | bsdtar -cnf - -T - | bsdtar -cf - --format=newc @-",
        "unlinked",
    ),
    "busybox": ("busybox cpio -o -H newc 2>/dev/null", "linked"),
    "toybox": ("toybox cpio -o -H newc", "linked"),
    "3cpio": ("sed 's,^./,,' | 3cpio --create /dev/stdout", "linked"),
}
FOLDER = b"case0000"
# Two orders, each with directories before what is in them.
ORDERS = {
    "a": "find . -mindepth 1 | sort",
    "b": "find . -mindepth 1 -type d | sort; find . -mindepth 1 ! -type d | sort -r",
}
PACKERS = {
    "plain": "cat",
    "gzip": "gzip -n -6",
    "bzip2": "bzip2 -9",
    "xz": "xz --check=crc32 --lzma2=dict=1MiB -T1",
    "xz-bcj": "xz --check=crc32 --x86 --lzma2=dict=1MiB -T1",
    "lzma": "xz --format=lzma -6",
    "lz4": "lz4 -l -c -9",
    "zstd": "zstd -q -3 -c",
    "zstd-long": "zstd -q -3 --long=27 -c",
    "lzop": "lzop -9 -c",
}


def following(place, packer):
    """What stands behind an image, by what it is; zeros that the kernel needs stand before it."""

    def behind(image, data, align=4):
        need = 4 if packer == "lz4" else 0
        return image + b"\0" * (need + -(len(image) + need) % align) + data

    file, folder = 0o100644, 0o040755
    more = [(place, folder, b""), (f"{place}/more", file, b"more")]
    over = [
        (f"{place}/etc/b", 0o100600, b"replaced"),
        (f"{place}/usr/lib/large", file, b"replaced too" * 900),
        (f"{place}/etc/none", folder, b""),
        (f"{place}/etc/none/below", file, b"below"),
    ]
    code = [
        (f"{place}/kernel", folder, b""),
        (f"{place}/kernel/x86", folder, b""),
        (f"{place}/kernel/x86/microcode", folder, b""),
        (f"{place}/kernel/x86/microcode/GenuineIntel.bin", file, b"microcode" * 700),
    ]
    code = [(place, folder, b""), *code]
    return {
        "nothing": lambda image: image,
        "plain": lambda image: behind(image, archive(more)),
        "gzip": lambda image: behind(image, gzip.compress(archive(more), mtime=0), 1),
        "rpm-ostree": lambda image: behind(image, layout.random_devices_member(), 512),
        "overlay": lambda image: behind(image, gzip.compress(archive(over), mtime=0)),
        "microcode": lambda image: archive(code) + image,
        "microcode-4096": lambda image: archive(code, 4096) + image,
    }


def bootconfig(image):
    """A boot configuration behind an image, as tools/bootconfig of the kernel writes it."""
    text = b"reprofix.bed = 1\n\0"
    text += b"\0" * (-(len(image) + len(text)) % 4)
    total = sum(text) & 0xFFFFFFFF
    return image + text + struct.pack("<II", len(text), total) + b"#BOOTCONFIG\n"


def made(maker, order, work):
    """The archive of the tree, whose folder is called FOLDER."""
    command, kind = MAKERS[maker]
    tree = work / "tree"
    remove(tree)
    tree.mkdir()
    run("bash", "-c", TREE, "tree", FOLDER.decode(), kind, cwd=tree)
    script = f"set -o pipefail; {{ {ORDERS[order]}; }} | {{ {command}; }}"
    return run("bash", "-c", script, cwd=tree, stdout=subprocess.PIPE).stdout


class Case:
    """One small image, made in two orders."""

    def __init__(self, number, maker, packer, follows):
        self.name, self.place = f"{maker}-{packer}-{follows}", f"case{number:04}"
        self.maker, self.packer, self.follows = maker, packer, follows

    def make(self, archives, order):
        plain = archives[self.maker, order].replace(FOLDER, self.place.encode())
        packed = run("bash", "-c", PACKERS[self.packer], input=plain, stdout=subprocess.PIPE).stdout
        return following(self.place, self.packer)[self.follows](packed)

    def paths(self, tree):
        """What of a tree is this case's."""
        below = f"{self.place}/"
        return {path: line for path, line in tree.items() if f"{path}/".startswith(below)}


def cases():
    """Every maker that is installed, with every compression and everything behind it."""
    names = list(following("x", "plain"))
    combined = itertools.product(filter(installed, MAKERS), PACKERS, names)
    return [Case(number, *words) for number, words in enumerate(combined, 1)]


def installed(maker):
    program = MAKERS[maker][0].replace("sed 's,^./,,' | ", "").split()[0]
    if not shutil.which(program):
        print(f"skipped: {maker}, since {program} is not installed")
    return shutil.which(program)


def joined(images, end):
    """One image of many, each behind enough zeros for the reader before it."""
    out = b"".join(image + b"\0" * (512 + -len(image) % 512) for image in images)
    return bootconfig(out + end)
