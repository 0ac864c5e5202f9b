"""Boot images by their real makers, for a real Debian kernel, and what their readers say of them."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from .tools import E2E, apt_lists, output, remove, run
from .treefile import load

# dracut's own files are generated one after another; with RACE set, the second turns between two.
RACE_MODULE = """\
check() { return 0; }
depends() { return 0; }
install() {
    echo "the same text" >"$initdir/etc/race-one"
    [ -z "${RACE:-}" ] || sleep 1.1
    echo "the same text" >"$initdir/etc/race-two"
}
"""


# Packages that a kernel's own has its parts in, from Linux 7 of Debian on.
PARTS = r"linux-(?:base|binary|modules)-[0-9]\S+"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kernel(cache, flavour):
    """Debian's kernel of a flavour ("cloud-amd64", "amd64"), unpacked once; gives its folder."""
    apt_lists()
    depends = output("apt-cache", "depends", f"linux-image-{flavour}")
    package = re.search(r"Depends: (linux-image-\d\S+)", depends).group(1)
    place = cache / package
    if not place.exists():
        new = cache / f"{package}.new.{os.getpid()}"
        remove(new)
        new.mkdir(parents=True)
        parts = re.findall(PARTS, output("apt-cache", "depends", package))
        # apt drops privileges, and may not write where we may.
        asked = ("-qq", "-o", "APT::Sandbox::User=root", "download", package, *parts)
        run("apt-get", *asked, cwd=new)
        for deb in new.glob("*.deb"):
            run("dpkg", "-x", deb, new)
        if not (new / "lib").exists():  # Debian 13 and later
            (new / "lib").symlink_to("usr/lib")
        version = next((new / "lib/modules").iterdir()).name
        run("depmod", "-b", new, version)
        for deb in new.glob("*.deb"):
            deb.unlink()
        remove(place)
        new.rename(place)
    return Kernel(place)


class Kernel:
    def __init__(self, place):
        self.modules = next((place / "lib/modules").iterdir())
        self.version = self.modules.name
        self.vmlinuz, self.config = self.modules / "vmlinuz", self.modules / "config"
        if not self.vmlinuz.exists():
            self.vmlinuz = place / "boot" / f"vmlinuz-{self.version}"
            self.config = place / "boot" / f"config-{self.version}"


def microcode(folder):
    """What is added to dracut's images: microcode that looks like Intel's."""
    firmware = folder / "firmware/intel-ucode"
    firmware.mkdir(parents=True)
    (firmware / "06-55-04").write_bytes(b"microcode" * 700)
    return folder


def under(which, scratch, command, env=None):
    """Run a command under circumstances a or b; its scratch folder is a tmpfs in b."""
    keep = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    command = [E2E / "circumstances", which, scratch, *command]
    done = subprocess.run(
        [str(word) for word in command],
        env=keep | (env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[3]} under {which} failed:\n{done.stdout[-3000:]}")


# Its modules and its own library are copied, in b onto a tmpfs and in the other order, so that
# every listing of a folder comes in another order. The build's paths differ for the same reason.
# The umask is rpm-ostree's: dracut's own files get their modes by it, which is no noise.
DRACUT = """
set -eu
umask 022
scratch=$1 kernel=$2 added=$3 image=$4
shift 4
list() { (cd "$1" && find . -mindepth 1 -maxdepth "$2") | if [ -n "${BACKWARDS:-}" ]; then sort -r; else sort; fi; }
copy() { mkdir -p "$2"; list "$1" "$3" | while read -r n; do [ -e "$2/$n" ] || cp -a --parents -t "$2" "$n"; done; }
(cd "$kernel" && copy . "$scratch/lib/modules/${kernel##*/}" 2)
(cd /usr/lib/dracut && copy . "$scratch/dracut" 2)
touch -r "$kernel" "$scratch/lib/modules/${kernel##*/}"
cp -a "$added/." "$scratch/added"
mkdir -p "$scratch/dracut/modules.d/99race" "$scratch/tmp.$BACKWARDS"
printf %s "$RACE_MODULE" >"$scratch/dracut/modules.d/99race/module-setup.sh"
if [ -n "${FRAGMENT:-}" ]; then # what the treefile adds, and in b another version of the image
    cp -a "$FRAGMENT/." "$scratch/dracut"
    sed "s/^VERSION=.*/VERSION=\"1.$BACKWARDS\"/" /etc/os-release >"$scratch/os-release"
    printf "OSTREE_VERSION='1.%s'\n" "$BACKWARDS" >>"$scratch/os-release"
    mount --bind "$scratch/os-release" /etc/os-release
fi
export dracutbasedir=$scratch/dracut TMPDIR=$scratch/tmp.$BACKWARDS
dracut --kver "${kernel##*/}" --kmoddir "$scratch/lib/modules/${kernel##*/}" --tmpdir "$TMPDIR" \
    --fwdir "$scratch/added/firmware" --early-microcode --add race -f "$image" "$@"
"""


def dracut(which, scratch, image, kernel, added, arguments, epoch=None, fragment=None):
    env = {"RACE_MODULE": RACE_MODULE, "BACKWARDS": "1" if which == "b" else ""}
    env |= {"RACE": "1"} if which == "b" else {}
    env |= {"SOURCE_DATE_EPOCH": str(epoch)} if epoch else {}
    env |= {"FRAGMENT": str(fragment)} if fragment else {}
    words = ["bash", "-c", DRACUT, "dracut", scratch, kernel.modules, added, image, *arguments]
    under(which, scratch, words, env)
    remove(scratch)


def fragment(treefile, folder):
    """What a treefile adds below /usr/lib/dracut, in a folder."""
    for source, place in load(treefile)["add-files"]:
        to = folder / Path(place).relative_to("/usr/lib/dracut")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, to)
    return folder


def hardware_libraries(folder, configuration):
    """Where `ldd` finds a library that there is for newer processors too, as dracut asks it: after
    the words of a dracut configuration."""
    library = re.search(r"=> (\S*liblzma\S*)", output("ldd", "/usr/bin/kmod")).group(1)
    for place in (folder, folder / "glibc-hwcaps/x86-64-v2"):
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)
    words = f". {configuration}; LD_LIBRARY_PATH={folder} ldd /usr/bin/kmod"
    return re.search(r"liblzma\S* => (\S+)", output("bash", "-c", words)).group(1)


# In the private mount name space of `circumstances`, the kernel lies where mkinitramfs looks.
MKINITRAMFS = """
set -eu
umask 022
scratch=$1 modules=$2 config=$3 image=$4
shift 4
version=${modules##*/}
mount -t tmpfs -o mode=0755 modules /mnt
mkdir -p "/mnt/lib/modules/$version" /mnt/boot "$scratch/tmp"
mount --bind "$modules" "/mnt/lib/modules/$version"
cp "$config" "/mnt/boot/config-$version"
[ -d /lib/modules ] || mkdir /lib/modules
mount --bind /mnt/lib/modules /lib/modules
mount --bind /mnt/boot /boot
TMPDIR=$scratch/tmp mkinitramfs -o "$image" "$@" "$version"
"""


def mkinitramfs(which, scratch, image, kernel, arguments):
    words = ["bash", "-c", MKINITRAMFS, "mkinitramfs", scratch, kernel.modules, kernel.config]
    under(which, scratch, [*words, image, *arguments])
    remove(scratch)
