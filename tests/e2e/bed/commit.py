"""The commit and cosa's builds folder: builds.json, latest, ID/ARCH/meta.json and its company."""

import datetime
import hashlib
import json
import os
import platform
import re
import shutil
import time

from .layout import package_list
from .tools import output, run, source_date_epoch

ARCH = platform.machine()


def iso(seconds):
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def ref(treefile):
    return treefile["ref"].replace("${basearch}", ARCH)


def input_hash(treefile, packages):
    text = json.dumps([treefile, packages], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def show(repo, revision):
    """The commit's timestamp in seconds and its content checksum, by the ostree program."""
    text = output("ostree", f"--repo={repo}", "show", revision)
    date = re.search(r"^Date:\s+(.*)$", text, re.M).group(1)
    stamp = datetime.datetime.strptime(date, "%Y-%m-%d %H:%M:%S %z").timestamp()
    return stamp, re.search(r"^ContentChecksum:\s+(\w+)$", text, re.M).group(1)


def ostree_commit(root, repo, treefile, version, mode):
    """Commit the root; gives ostree's table of statistics, the commit among them."""
    if not repo.is_dir():
        run("ostree", f"--repo={repo}", "init", f"--mode={mode}")
        # Waiting for the disk and packing hard took most of a compose's time.
        for key, value in (("core.fsync", "false"), ("archive.zlib-level", "1")):
            run("ostree", f"--repo={repo}", "config", "set", key, value)
    inputs = input_hash(treefile, package_list(root))
    command = ["ostree", f"--repo={repo}", "commit", "-b", ref(treefile), f"--tree=dir={root}"]
    command += [f"--add-metadata-string=version={version}", "--no-bindings", "--table-output"]
    command += [f"--add-metadata-string=rpmostree.inputhash={inputs}"]
    command += [f"--add-metadata-string=coreos-assembler.basearch={ARCH}"]
    if treefile.get("selinux", True) and (root / "usr/etc/selinux").is_dir():
        command.append(f"--selinux-policy={root}")
    if source_date_epoch():
        command.append(f"--timestamp=@{source_date_epoch()}")
    return dict(line.split(": ", 1) for line in output(*command).splitlines())


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def meta(treefile, version, statistics, stamp, inputs, artifact):
    """meta.json as `cosa import` leaves it: all but ostree-content-checksum, which `record` fills."""
    now = time.time()

    def number(key):
        return int(statistics.get(key, 0))

    project = treefile.get("rojig", {})
    return {
        "ref": ref(treefile),
        "ostree-n-metadata-total": number("Metadata Total"),
        "ostree-n-metadata-written": number("Metadata Written"),
        "ostree-n-content-total": number("Content Total"),
        "ostree-n-content-written": number("Content Written"),
        "ostree-n-cache-hits": number("Content Cache Hits"),
        "ostree-content-bytes-written": number("Content Bytes Written"),
        "ostree-commit": statistics["Commit"],
        "ostree-version": version,
        "ostree-timestamp": iso(stamp),
        "rpm-ostree-inputhash": inputs,
        "buildid": version,
        "name": project.get("name", "bed"),
        "summary": project.get("summary", "bed"),
        "coreos-assembler.build-timestamp": iso(now),
        "coreos-assembler.image-config-checksum": hashlib.sha256(b"").hexdigest(),
        "coreos-assembler.code-source": "container",
        "coreos-assembler.meta-stamp": int(now * 1e9),
        "coreos-assembler.delayed-meta-merge": False,
        "coreos-assembler.basearch": ARCH,
        "coreos-assembler.config-gitrev": "bed",
        "coreos-assembler.config-dirty": "false",
        "pkgdiff": [],
        "images": {
            "ostree": {
                "path": artifact.name,
                "sha256": digest(artifact),
                "size": artifact.stat().st_size,
            }
        },
    }


def lockfile(packages):
    def evra(epoch, version, release, arch):
        return ("" if epoch == "0" else f"{epoch}:") + f"{version}-{release}.{arch}"

    return {
        "packages": {name: {"evra": evra(*rest)} for name, *rest in packages},
        "metadata": {"generated": iso(time.time())},
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=4))
    path.chmod(0o644)


def build(workdir, root, treefile, version, mode="archive"):
    """Commit the root and record it as build `version` of the work folder; gives the commit."""
    repo = workdir / "tmp/repo"
    statistics = ostree_commit(root, repo, treefile, version, mode)
    revision = statistics["Commit"]
    stamp, _ = show(repo, revision)
    packages = package_list(root)
    folder = workdir / "builds" / version / ARCH
    folder.mkdir(parents=True)
    artifact = folder / "ostree-commit-object"
    shutil.copy(repo / "objects" / revision[:2] / f"{revision[2:]}.commit", artifact)
    inputs = input_hash(treefile, packages)
    values = meta(treefile, version, statistics, stamp, inputs, artifact)
    write_json(folder / "meta.json", values)
    metadata = {"ostree-commit": revision, "ostree-version": version}
    write_json(folder / "commitmeta.json", metadata | {"rpmostree.rpmdb.pkglist": packages})
    write_json(folder / f"manifest-lock.generated.{ARCH}.json", lockfile(packages))
    builds = {"schema-version": "1.0.0", "builds": [{"id": version, "arches": [ARCH]}]}
    write_json(workdir / "builds/builds.json", builds | {"timestamp": iso(time.time())})
    latest = workdir / "builds/latest"
    latest.unlink(missing_ok=True)
    os.symlink(version, latest)
    return revision
