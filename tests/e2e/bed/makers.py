"""What docs/initramfs.md says of each maker of boot images in a release of Debian."""

import json
import re
import shutil
from pathlib import Path

from . import judge, layout
from .images import digest
from .judged import Judged
from .tools import output

# How each maker says its version.
VERSIONS = {
    "dracut": "dpkg-query -W -f '${Version}' dracut-core",  # 059 does not say it
    "initramfs-tools": "echo initramfs-tools $(dpkg-query -W -f '${Version}' initramfs-tools-core)",
    "cpio": "cpio --version | head -1",
    "mkinitcpio": "bsdtar --version",
    "busybox": "busybox 2>&1 | head -1",
    "toybox": "toybox --version",
    "3cpio": "3cpio --version",
}
NAMES = {
    "cpio": "GNU cpio, `newc`",
    "cpio-crc": "GNU cpio, `crc`",
    "mkinitcpio": "bsdtar through tar, as mkinitcpio runs it",
    "busybox": "busybox cpio",
    "toybox": "toybox cpio",
    "3cpio": "3cpio",
}


def version(maker):
    words = output("bash", "-c", VERSIONS[maker.removesuffix("-crc")]).strip()
    return re.search(r"\d[\w.+~-]*", words.replace("3cpio", "", 1) if maker == "3cpio" else words)[
        0
    ]


def causes(bed, a, b):
    """What `initramfs diff` names, without numbers and paths."""
    said = bed.reprofix("initramfs", "diff", a, b).stdout.splitlines()
    found = set()
    for line in said:
        if match := re.match(r"(order of the entries|[a-z ]+(?=: \d+ entries))", line):
            found.add(match[0].replace("order of the entries", "order"))
        elif match := re.match(
            r"(.+?): (content|hard links|only in|mode|owner|target|device)", line
        ):
            path, what = match.groups()
            where = f" of `{Path(path).name}`" if what == "content" else ""
            found.add({"only in": "files on one side"}.get(what, what) + where)
        elif line.startswith("compressed differently"):
            found.add("the compressor's bytes")
    return ", ".join(sorted(found)) or "nothing"


def small(bed):
    """A row for each maker of archives: all compressions, and all that may be around them."""
    judged = Judged(bed, every=True)
    judged.run()
    for maker in sorted({case.maker for case in judged.cases} - {"dracut"}):
        cases = [case for case in judged.cases if case.maker == maker]
        archives = []
        for order in judge.ORDERS:
            archives.append(bed.work / f"{maker}.{order}.cpio")
            archives[-1].write_bytes(judged.archives[maker, order])
        refused = sorted({judged.refused[c.name] for c in cases if c.name in judged.refused})
        good = [case for case in cases if case.name not in judged.wrong]
        yield {
            "maker": f"{NAMES[maker]} {version(maker)}",
            "differs": causes(bed, *archives),
            "after": f"one, idempotent, the same tree ({len(good)} of {len(cases)} images)",
            "refused": "; ".join(refused) or "–",
            "readers": told(judged.misread),
        }


def told(misread):
    """The readers, and which of them read something else."""
    known = [(name, lines) for name, (whole, lines) in misread.items() if whole or lines]
    return ", ".join(name if not lines else f"**not {name}**" for name, lines in known)


def real(bed, name, what, pair):
    """A row for two images of a real maker."""
    before = causes(bed, *pair) if digest(pair[0]) != digest(pair[1]) else "nothing"
    failed = bed.checks.failed
    fixed = bed.one_after_fix(name, pair, differs=False)
    bed.boots(name, pair[0], fixed)
    misread = bed.read(name, pair[0], fixed)
    whole = "one, idempotent, the same tree but for links taken apart"
    return {
        "maker": what,
        "differs": before,
        "after": whole if bed.checks.failed == failed else "**not as it should be**",
        "refused": "–",
        "readers": told(misread),
    }


def dracut(bed, name, with_3cpio):
    words = ("--no-reproducible", "--no-hostonly", "--no-kernel", "-m", "base race")
    if with_3cpio:
        # With early microcode dracut 112 gives 3cpio 0.14 paths that it does not find.
        words += ("--no-early-microcode",)
    pair = bed.dracut(name, *words, "--zstd")
    for image in pair:  # as rpm-ostree does
        with open(image, "ab") as file:
            file.write(b"\0" * (-file.tell() % 512) + layout.random_devices_member())
    other = f"3cpio {version('3cpio')}" if with_3cpio else f"GNU cpio {version('cpio')}"
    return real(bed, name, f"dracut {version('dracut')} with {other}", pair)


def rows(bed):
    yield from small(bed)
    program = shutil.which("3cpio")
    if program:
        yield dracut(bed, "dracut-3cpio", True)
        # This root is thrown away: dracut takes GNU cpio where there is no 3cpio.
        Path(program).rename(f"{program}.away")
    yield dracut(bed, "dracut-cpio", False)
    if program:
        Path(f"{program}.away").rename(program)
    pair = bed.mkinitramfs("mkinitramfs", "-c", "zstd")
    yield real(bed, "mkinitramfs", f"initramfs-tools {version('initramfs-tools')}", pair)


def hold(bed, report):
    """Judges every maker, and leaves rows for the table."""
    found = {"kernel": bed.kernel.version, "rows": list(rows(bed))}
    report.write_text(json.dumps(found))
