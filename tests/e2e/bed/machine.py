"""A small system with systemd, booted by the options of its own boot entry: which machine id it gets.

Its root is in the initramfs, so that nothing but the kernel and systemd decide.
"""

import re
import shutil
import subprocess
from pathlib import Path

from .tools import PROJECT, output, remove, run

# The entry of the real kernel-install, with a command line that holds the id of its machine.
ENTRY = PROJECT / "tests/plugins/machine-id/pair/a/boot/loader/entries/debian-6.1.0.conf"
SYSTEMD = Path("/usr/lib/systemd")
TARGET = "[Unit]\nDefaultDependencies=no\nRequires=print.service\nAfter=print.service\n"
SAY = "echo MACHINE-ID $(cat /etc/machine-id) >/dev/ttyS0; poweroff -f"
SERVICE = f"""\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/busybox sh -c '{SAY}'
"""


def libraries(program):
    """What a program is linked with, by `ldd`."""
    return re.findall(r"(/\S+) \(0x", output("ldd", program))


def root(place):
    """The system's root; gives the id that its build left in it."""
    remove(place)
    for folder in ("bin", "dev", "proc", "sys", "run", "tmp", "etc/systemd/system"):
        (place / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), place / "bin/busybox")
    for name in ("systemd", "systemd-executor"):  # the second since systemd 255
        if (SYSTEMD / name).exists():
            for path in (SYSTEMD / name, *libraries(SYSTEMD / name)):
                to = place / str(path).lstrip("/")
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to)
    (place / "etc/systemd/system/default.target").write_text(TARGET)
    (place / "etc/systemd/system/print.service").write_text(SERVICE)
    entry = place / "boot/loader/entries" / ENTRY.name
    entry.parent.mkdir(parents=True)
    shutil.copy(ENTRY, entry)
    found = re.search(r"systemd\.machine_id=([0-9a-f]{32})", entry.read_text())[1]
    (place / "etc/machine-id").write_text(f"{found}\n")
    return found


def boot(vmlinuz, place, scratch, seconds=300):
    """Boots the root with the options of its entry; gives the machine id that it has then."""
    entry = (place / "boot/loader/entries" / ENTRY.name).read_text()
    options = re.search(r"^options\s+(.*)$", entry, re.M)[1]
    image = scratch / "machine.img"
    with open(image, "wb") as out:
        pack = "find . -mindepth 1 | sort | cpio -o -H newc --quiet | gzip -1"
        run("bash", "-c", pack, cwd=place, stdout=out)
    command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "1024", "-nographic", "-no-reboot"]
    command += ["-nodefaults", "-serial", "stdio", "-kernel", vmlinuz, "-initrd", image, "-append"]
    # An emulated timer is late on a busy machine, and the kernel gives up: no_timer_check.
    ours = "console=ttyS0 loglevel=1 panic=-1 no_timer_check"
    command += [f"{options} {ours} rdinit={SYSTEMD}/systemd"]
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
        said = done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode(errors="replace")
    found = re.search(r"MACHINE-ID ([0-9a-f]{32})", said)
    if not found:
        print("\n".join(said.splitlines()[-15:]))
    return found[1] if found else None


def hold(bed, epoch):
    """Machines that boot an entry of the build share its id; after `fix` each has its own."""
    place, vmlinuz, checks = bed.work / "machine", bed.kernel.vmlinuz, bed.checks
    build = root(place)
    checks.same("a machine that boots the build's entry has the build's id", boot(vmlinuz, place, bed.work), build)  # fmt: skip
    done = bed.reprofix("fix", place, "--source-date-epoch", epoch)
    checks.same("fix of the tree with the entry exits 0", done.returncode, 0)
    ids = [boot(vmlinuz, place, bed.work) for _ in range(2)]
    checks.that("after fix two machines have ids", all(ids), ids)
    checks.that("of their own", len({build, *ids}) == 3, ids)
    remove(place)
