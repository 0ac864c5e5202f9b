"""The recipes of images and of the nightly job, each run twice as it is printed.

buildah, skopeo and ostree are real; coreos-assembler, bootc-base-imagectl and rpm-ostree are emulated
by the scripts of these names.
"""

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from . import oracle
from .flows import OF_THE_ENGINE
from .tools import E2E, output, run, step

USER = "reprofix-builder"
UID = 4242
SUBORDINATE = f"{USER}:200000:65536\n"
EPOCH = "export SOURCE_DATE_EPOCH=1700000000\n"
# What a step of a build leaves of its day, and at random.
LEFT = "RUN date >/var/log/dnf.log; head -c 16 /dev/urandom >/etc/passwd-\n"
STAGES = """\
FROM scratch AS builder
COPY builder /
ARG VERSION
RUN cp -a /run/src/rootfs /target-rootfs && echo "$VERSION" >/target-rootfs/usr/share/version
{snippet}
FROM scratch
COPY --from=builder /target-rootfs /
LABEL containers.bootc=1
"""


def digests(layout):
    index = json.loads((layout / "index.json").read_text())
    return [manifest["digest"] for manifest in index["manifests"]]


def with_mount_points(root):
    """The root, with the files over which an engine mounts its own."""
    for path in OF_THE_ENGINE:
        if path.startswith("etc/") and not (root / path).exists():
            (root / path).write_text("")
    return root


def unfixed(bed, name):
    """Two root file systems without reprofix, which differ; etc is where a container has it."""
    places, _ = bed.both(name, "", ["umask 022\nrpm-ostree compose rootfs treefile.yaml rootfs\n"])
    return [with_mount_points(place / "rootfs") for place in places]


def image(bed, checks, roots, name="image"):
    """The Containerfile, on trees that differ."""
    section = bed.sections["A bootc image, and other images made by buildah"]
    left = list(roots)

    def prepare(place):
        os.rename(with_mount_points(left.pop(0)), place / "rootfs")
        (place / "Containerfile").write_text(section["Dockerfile"][0])

    places, _ = bed.both(name, "", section["sh"][:1], prepare)
    sums = [digests(place / "image") for place in places]
    print(f"as buildah writes it: {'one digest' if sums[0] == sums[1] else 'two digests'}")
    checks.same("the image as printed, twice: one digest", *(digests(p / "normal") for p in places))


def sealed(bed, checks, roots):
    """The same trees sealed: a kernel that is one, and times that are not."""
    section = bed.sections["A sealed image"]

    def prepare(place):
        root = roots.pop(0)
        modules = root / "usr/lib/modules/6.1.0"
        for folder in (modules, root / "boot", root / "sysroot"):
            folder.mkdir(parents=True, exist_ok=True)
        (modules / "vmlinuz").write_bytes(b"kernel" * 1000)
        (modules / "initramfs.img").write_bytes(b"initramfs" * 1000)
        (root / "usr/lib/os-release").write_text("ID=bed\n")
        os.rename(root, place / "rootfs")
        for name, block in zip(("Containerfile", "Containerfile.sealed"), section["Dockerfile"]):
            (place / name).write_text(block)

    places, said = bed.both("sealed", "", section["sh"], prepare)
    carries = "boot/EFI/Linux/bootc.efi: carries this digest\n"
    for which, (text,) in zip("ab", said):
        sound = carries in text and "\nsame\n" in text
        checks.that(f"the sealed image {which} as printed carries its digest", sound, text)
    digest = "reprofix composefs digest oci:sealed:latest"
    first, second = (bed.shell(p, which, digest) for p, which in zip(places, "ab"))
    checks.same("... twice: one composefs digest", first, second)
    efi = [(place / "bootc.efi").read_bytes() for place in places]
    checks.that("... and one UKI", efi[0] == efi[1])
    late = "FROM localhost/sealed\nCOPY Containerfile /usr/lib/late\n"
    (places[0] / "Containerfile.late").write_text(late)
    script = "buildah build --layers=false --tag localhost/late -f Containerfile.late .\n"
    script += "buildah push localhost/late oci:late:latest\n"
    script += "reprofix composefs check oci:late:latest || echo exit $?"
    told = bed.shell(places[0], "a", script)
    changed = "of the lowest 2 of 3 layers: the image was changed after the seal"
    checks.that("... a change after the seal is found", changed in told and "exit 1" in told, told)


class Nobody:
    """An ordinary user with subordinate ids, known in our mounts only."""

    def __init__(self, bed):
        self.home = bed.work / "builder"
        (self.home / "run").mkdir(parents=True)
        etc = bed.work / "etc"
        run("cp", "-a", "/etc", etc)
        run("mount", "--bind", etc, "/etc")
        for name, line in (
            ("passwd", f"{USER}:x:{UID}:{UID}::{self.home}:/bin/sh\n"),
            ("group", f"{USER}:x:{UID}:\n"),
            ("subuid", SUBORDINATE),
            ("subgid", SUBORDINATE),
        ):
            with open(f"/etc/{name}", "a", encoding="utf-8") as file:
                file.write(line)

    def takes(self, place):
        """Gives a folder to the user, who comes to it through ours."""
        run("chown", "-R", f"{UID}:{UID}", place, self.home)

    def command(self):
        # The clock of `circumstances` shares memory that is root's: this user has the real one.
        words = ["env", "-u", "LD_PRELOAD", f"HOME={self.home}", "STORAGE_DRIVER=vfs"]
        words += [f"XDG_RUNTIME_DIR={self.home}/run", "setpriv", "--clear-groups"]
        return [*words, "--reuid", str(UID), "--regid", str(UID)]


def rootless(bed, checks):
    """The same block by an ordinary user, whose buildah makes a user name space of its own; then a
    night of the preset by that user, and by a user without subordinate ids."""
    if not shutil.which("newuidmap"):
        print("not run: newuidmap is not to be had here")
        return
    section = bed.sections["A bootc image, and other images made by buildah"]
    root, _ = unfixed(bed, "rootless-trees")
    user = Nobody(bed)
    bed.work.chmod(0o755)
    user.takes(user.home)
    probe = subprocess.run(
        [*user.command(), "buildah", "unshare", "true"], capture_output=True, text=True
    )
    if probe.returncode:
        print(f"not run: an ordinary user has no user name spaces here: {probe.stderr.strip()}")
        return
    found = {"alone": [], "normal": []}
    for which in "ab":
        place = bed.folder("rootless", which)
        run("cp", "-a", root, place / "rootfs")
        # One input: what differs comes from a step of the build.
        text = section["Dockerfile"][0].replace("ARG SOURCE", f"{LEFT}ARG SOURCE", 1)
        (place / "Containerfile").write_text(text)
        alone = text[: text.index("RUN --mount")]
        (place / "Containerfile.alone").write_text(alone)
        user.takes(place)
        script = "id -u\n" + section["sh"][1]
        without = script.replace(":latest", ":alone").replace(":normal:", ":alone:")
        without = without.replace("--tag image .", "--tag image -f Containerfile.alone .")
        with step(f"rootless, {which}"):
            bed.shell(place, which, without, user=user.command())
            said = bed.shell(place, which, script, user=user.command())
        checks.that("... no step is root's", said.startswith(f"{UID}\n"), said[:200])
        for name, sums in found.items():
            sums.append(digests(place / name))
    checks.that(
        "a rootless build without the line: two digests", found["alone"][0] != found["alone"][1]
    )
    checks.same("a rootless build as printed, twice: one digest", *found["normal"])
    rootless_night(bed, checks, user)


ROOTLESS_NIGHT = """\
history = "history.db"
work = "work"
[[stream]]
name = "line"
preset = "rootless"
with = { context = "../a" }
source-date-epoch = 1700000000
[[stream]]
name = "alone"
preset = "rootless"
with = { context = "../a", arguments = "-f Containerfile.alone" }
source-date-epoch = 1700000000
"""


def rootless_night(bed, checks, user):
    place = bed.work / "rootless/night"
    place.mkdir()
    (place / "nightly.toml").write_text(ROOTLESS_NIGHT)
    user.takes(place)
    script = "reprofix nightly || echo exit $?"
    with step("a rootless night"):
        said = bed.shell(place, "a", script, circumstances=False, user=user.command())
    history = "reprofix history --history history.db --json"
    shown = json.loads(bed.shell(place, "a", history, circumstances=False, user=user.command()))
    runs = {run["stream"]: run for run in shown["runs"]}
    checks.same("preset rootless: reproducible", runs["line"]["verdict"], "reproducible")
    checks.same("... without the line: different", runs["alone"]["verdict"], "different")
    varied = runs["line"]["variations"].split(",")
    checks.that(
        "... the day and the umask are varied by default", {"day", "umask"} <= {*varied}, varied
    )
    spared = dict(runs["line"]["skipped"])
    checks.that("... what needs root is named", {"host", "user", "pid"} <= {*spared}, spared)
    if "exit 1\n" not in said:
        print(said)
    for name in ("subuid", "subgid"):
        Path("/etc", name).write_text("")
    said = bed.shell(place, "a", script, circumstances=False)
    wanted = ("exit 2", "--map-auto true` fails here", ":100000:65536` in /etc/subuid")
    checks.that(
        "root without subordinate ids: an error before the night",
        all(w in said for w in wanted),
        said,
    )


def cosa(bed, checks):
    """`cosa build` of a Containerfile with the printed lines, then `record`, as printed."""
    section = bed.sections["coreos-assembler with a Containerfile"]
    roots = unfixed(bed, "cosa-trees")
    containerfile = STAGES.format(snippet=section["Dockerfile"][0])
    subjects, recorded = [], []
    for which, root in zip("ab", roots):
        config = bed.folder("cosa-config", which)
        os.rename(root, config / "rootfs")
        (config / "builder/bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), config / "builder/bin/busybox")
        for name in ("sh", "cp", "echo"):
            os.symlink("busybox", config / "builder/bin" / name)
        (config / "Containerfile").write_text(
            containerfile + 'LABEL org.opencontainers.image.version="1"\n'
        )
        shutil.copy(bed.options.static, config / "reprofix-static")
        (config / "build-args.conf").write_text("SOURCE_DATE_EPOCH=1700000000\n")
        place = bed.work / "cosa" / which
        place.mkdir(parents=True)
        script = section["sh"][0].replace("CONFIG", str(config))
        with step(f"cosa, {which}"):
            bed.shell(place, which, script.replace("VERSION", "1"))
        meta = json.loads((place / f"builds/1/{os.uname().machine}/meta.json").read_text())
        recorded.append(meta.get("ostree-content-checksum", meta))
        subjects.append(f"cosa:{place}")
        again = bed.shell(place, which, "cosa build --direct --version 1\n")
        checks.that("an existing version is not built again", "already exists" in again, again)
    checks.same("cosa as printed, twice: one recorded content checksum", *recorded)
    checks.that("... and it is a checksum", isinstance(recorded[0], str), recorded[0])
    code, text, err = bed.check(*subjects)
    checks.that("check cosa:A cosa:B: the same", code == 0, text + err)


@contextmanager
def overlay(bed, place):
    """A folder of the system with our own above it, in our mounts only."""
    above = bed.work / "over" / place.strip("/")
    above.mkdir(parents=True)
    # In memory: this machine's disk may be an overlay itself, on which none can write.
    run("mount", "-t", "tmpfs", "above", above)
    above.joinpath("upper").mkdir()
    above.joinpath("work").mkdir()
    options = f"lowerdir={place},upperdir={above}/upper,workdir={above}/work"
    run("mount", "-t", "overlay", "overlay", "-o", options, place)
    try:
        yield
    finally:
        run("umount", place)
        run("umount", above)


def imagectl(bed, checks):
    """bootc-base-imagectl as printed, whose build-rootfs is `compose rootfs` under another name."""
    section = bed.sections["rpm-ostree compose rootfs"]
    with overlay(bed, "/usr/libexec"), overlay(bed, "/usr/share/doc"):
        shutil.copy(E2E / "bootc-base-imagectl", "/usr/libexec")
        manifests = Path("/usr/share/doc/bootc-base-imagectl/manifests")
        manifests.mkdir(parents=True)
        shutil.copy(bed.project / "treefiles/minimal.yaml", manifests)
        places, _ = bed.both("imagectl", "", section["sh"][1:])
    sums = [oracle.content_checksum(place / "rootfs") for place in places]
    checks.same("bootc-base-imagectl as printed, twice: one content", *sums)


NIGHT = """\
history = "history.db"
work = "work"
[[stream]]
name = "tree"
preset = "rpm-ostree"
with = {{ treefile = "{place}/treefile.yaml", ref = "{ref}" }}
source-date-epoch = 1700000000
vary = ["all"]
env = {{ BED_TRANSACTIONS = "{transactions}" }}
[[stream]]
name = "folder"
preset = "compose-rootfs"
with = {{ manifest = "{place}/treefile.yaml" }}
source-date-epoch = 1700000000
vary = ["all"]
env = {{ BED_TRANSACTIONS = "{transactions}" }}
"""


def night(bed, checks):
    """A night with the presets for rpm-ostree and everything varied, against the emulation."""
    yaml = bed.sections["rpm-ostree compose tree"]["yaml"][0]
    place = bed.folder("night", "a", yaml)
    text = NIGHT.format(place=place, ref=bed.ref, transactions=bed.files_of(place, "a"))
    (place / "nightly.toml").write_text(text)
    env = dict(os.environ, PATH=f"/usr/local/bin:{os.environ['PATH']}")
    command = [bed.options.reprofix.resolve(), "nightly", "--config", place / "nightly.toml"]
    with step("a night"):
        done = subprocess.run([str(w) for w in command], env=env, capture_output=True, text=True)
    checks.same('a night with vary = ["all"] is green', done.returncode, 0)
    if done.returncode:
        print(done.stdout, done.stderr)
    history = [bed.options.reprofix, "history", "--history", place / "history.db", "--json"]
    for one in json.loads(output(*history))["runs"]:
        shown = json.loads(output(*history, "show", str(one["id"])))
        checks.same(f"{one['stream']}: reproducible", one["verdict"], "reproducible")
        text = json.dumps(shown)
        for name in ("umask", "directory-order"):
            checks.that(f"... and the record says why {name} is not varied", name in text, text)
        checks.that(
            "... and what is varied", re.search("timezone.*clock|clock.*timezone", text), text
        )
