"""Small helpers that every part of the bed uses."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

E2E = Path(__file__).resolve().parent.parent
PROJECT = E2E.parent.parent


def run(*command, **options):
    """Run a command; its failure is ours."""
    return subprocess.run([str(word) for word in command], check=True, **options)


def output(*command, **options):
    """What a command prints."""
    return run(*command, stdout=subprocess.PIPE, text=True, **options).stdout


def apt_lists():
    """Fetches the lists of packages where the machine has none, as images of containers are made."""
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        run("apt-get", "update", "-qq", "-o", "DPkg::Lock::Timeout=300")


def remove(path):
    """Remove a file, a link or a folder, whether or not it is there."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def release():
    """The program as `make install` installs it; `make static` builds it."""
    rustc = output("rustc", "-vV").splitlines()
    host = next(line.removeprefix("host: ") for line in rustc if line.startswith("host: "))
    return PROJECT / "target" / host / "release/reprofix"


def memory():
    """A folder in memory with room for trees of a benchmark, or none."""
    place = Path("/dev/shm")
    return place if place.is_dir() and shutil.disk_usage(place).free > 4 << 30 else None


def file_system(place):
    """Its type, for people."""
    return output("stat", "--file-system", "--format=%T", place).strip()


def source_date_epoch():
    """SOURCE_DATE_EPOCH of the environment; an empty one counts as unset."""
    return os.environ.get("SOURCE_DATE_EPOCH") or None


@contextmanager
def step(name):
    """Name a step of the compose and print what it took."""
    start = time.monotonic()
    yield
    print(f"== {name}: {time.monotonic() - start:.1f} s", flush=True)


def clean_environment(**more):
    """What rpm-ostree gives to what it runs in its sandbox, and nothing else."""
    env = {"LANG": os.environ.get("LANG", "C"), "PATH": "/usr/sbin:/usr/bin"}
    if source_date_epoch():
        env["SOURCE_DATE_EPOCH"] = source_date_epoch()
    return env | more
