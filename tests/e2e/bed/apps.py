"""The recipes of ostree's users beyond rpm, each run twice as it is printed: flatpak, debos, mmdebstrap.

Nothing is fetched: runtime, SDK, app and Debian packages are made here, of this host's programs.
"""

import json
import os
import re
import shutil
import subprocess

from .tools import output, run

# What the printed app gets here beside its program, for what validates an app.
DESKTOP = """\
[Desktop Entry]
Type=Application
Name=Hello
Exec=hello
Categories=Utility;
"""
METAINFO = """\
<?xml version="1.0" encoding="UTF-8"?>
<component type="desktop-application">
  <id>org.example.Hello</id>
  <metadata_license>CC0-1.0</metadata_license>
  <project_license>MIT</project_license>
  <name>Hello</name>
  <summary>Says hello</summary>
  <description><p>It says hello to whoever runs it, and nothing else.</p></description>
  <launchable type="desktop-id">org.example.Hello.desktop</launchable>
  <url type="homepage">https://example.org</url>
  <developer_name>Example</developer_name>
  <content_rating type="oars-1.1"/>
  <releases><release version="1" date="2023-11-14"/></releases>
</component>
"""
FILES = {
    "org.example.Hello.desktop": ("applications", DESKTOP),
    "org.example.Hello.metainfo.xml": ("metainfo", METAINFO),
}
PROGRAMS = "bash cat cp chmod echo env gzip ln ls mkdir rm sed sleep touch true uname".split()


def runtime(place):
    """A runtime and an SDK of this host's programs, installed for flatpak-builder without a network."""
    home = place / "home"
    tree = place / "runtime"
    for name in ("usr/bin", "usr/lib", "usr/lib64", "usr/etc", "files"):
        (tree / name).mkdir(parents=True)
    for program in [shutil.which(name) for name in PROGRAMS]:
        shutil.copy(program, tree / "usr/bin")
        listing = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+)", listing):
            target = tree / ("usr" + library.removeprefix("/usr"))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(library), target)
    os.symlink("bash", tree / "usr/bin/sh")
    arch = os.uname().machine
    text = f"runtime=org.example.Platform/{arch}/1\nsdk=org.example.Sdk/{arch}/1\n"
    env = dict(os.environ, XDG_DATA_HOME=str(home), FLATPAK_USER_DIR=str(home / "flatpak"))
    run("ostree", f"--repo={place}/runtimes", "init", "--mode=archive")
    for name in ("Platform", "Sdk"):
        (tree / "metadata").write_text(f"[Runtime]\nname=org.example.{name}\n{text}")
        export = ["flatpak", "build-export", "--disable-sandbox", "--runtime"]
        run(*export, place / "runtimes", tree, "1", env=env, stdout=subprocess.DEVNULL)
    remote = ["flatpak", "--user", "remote-add", "--no-gpg-verify", "local"]
    run(*remote, f"file://{place}/runtimes", env=env)
    names = ["org.example.Platform//1", "org.example.Sdk//1"]
    run("flatpak", "--user", "install", "-y", "local", *names, env=env, stdout=subprocess.DEVNULL)
    return env


def app(place, manifest):
    """The printed app with what a real one has beside it; nothing composes its metadata here."""
    (place / "hello").write_text("#!/bin/sh\necho hello\n")
    commands, sources = "", ""
    for name, (folder, text) in FILES.items():
        (place / name).write_text(text)
        commands += (
            f"      - mkdir -p /app/share/{folder}\n      - cp {name} /app/share/{folder}/\n"
        )
        sources += f"      - type: file\n        path: {name}\n"
    manifest = manifest.replace("    sources:\n", commands + "    sources:\n") + sources
    (place / "app.yaml").write_text("appstream-compose: false\n" + manifest)


def two_and_one(bed, checks, what, places, ref):
    """Two builds alone (`repo-alone`) differ in what fix removes; as printed (`repo`) they are one."""

    def commits(repo):
        return [output("ostree", f"--repo={p}/{repo}", "rev-parse", ref).strip() for p in places]

    checks.that(f"{what} alone: two commits", len(set(commits("repo-alone"))) == 2)
    subjects = [f"ostree:{place}/repo-alone:{ref}" for place in places]
    code, text, err = bed.check(*subjects, "--json", "-")
    checks.same(f"... check exits 1 {err}", code, 1)
    rows = json.loads(text)["differences"]
    unexplained = [row["path"] for row in rows if row["cause"]["kind"] != "fixed"]
    checks.same(f"... fix would remove each of {len(rows)} differences", unexplained, [])
    checks.same(f"{what} as printed, twice: one commit", *commits("repo"))
    for place in places:
        run("ostree", f"--repo={place}/repo", "fsck", "--quiet", stdout=subprocess.DEVNULL)


def validated(checks, tree):
    """The app's own validators, on what flatpak exports of it."""
    for program, folder, words in (
        ("desktop-file-validate", "applications", []),
        ("appstreamcli", "metainfo", ["validate", "--no-net", "--pedantic"]),
    ):
        if not shutil.which(program):
            print(f"not run: {program} is not to be had here")
            continue
        files = sorted((tree / folder).iterdir())
        done = subprocess.run([program, *words, *files], capture_output=True, text=True)
        said = done.stdout + done.stderr
        checks.that(f"{program} finds nothing", files and done.returncode == 0, said)


def flatpak(bed, checks):
    """Two builds, one commit; it installs, runs and is whole, and compares with the installation."""
    section = bed.sections["flatpak-builder"]
    env = runtime(bed.work)
    ref = f"app/org.example.Hello/{os.uname().machine}/master"
    shared = "export XDG_DATA_HOME={XDG_DATA_HOME} FLATPAK_USER_DIR={FLATPAK_USER_DIR}\n"
    script = shared.format(**env) + section["sh"][0]
    without = script.replace("reprofix fix build\n", "").replace(" repo build", " repo-alone build")
    places = []
    for which in ("a", "b"):
        place = bed.folder("flatpak", which)
        app(place, section["yaml"][0])
        bed.shell(place, which, without)
        bed.shell(place, which, script)
        places.append(place)

    two_and_one(bed, checks, "flatpak-builder", places, ref)
    remote = ["flatpak", "--user", "remote-add", "--no-gpg-verify", "apps"]
    run(*remote, f"file://{places[0]}/repo", env=env)
    install = ["flatpak", "--user", "install", "-y", "apps", "org.example.Hello"]
    run(*install, env=env, stdout=subprocess.DEVNULL)
    said = output("flatpak", "run", "--user", "org.example.Hello", env=env)
    checks.same("the app runs", said, "hello\n")
    location = output("flatpak", "--user", "info", "--show-location", "org.example.Hello", env=env)
    validated(checks, bed.work.joinpath(location.strip(), "export/share"))
    installed = f"ostree:{env['FLATPAK_USER_DIR']}/repo:apps:{ref}"
    code, text, err = bed.check(f"ostree:{places[1]}/repo:{ref}", installed)
    checks.that("the installation compares with the other build: the same", code == 0, text + err)


def debian_root(tree, which):
    """A root as dpkg leaves it, with what differs from build to build."""
    for name in ("etc", "usr/bin", "var/log", "var/lib/dpkg", "dev", "proc", "sys", "tmp"):
        (tree / name).mkdir(parents=True)
    (tree / "etc/machine-id").write_text(which * 32 + "\n")
    (tree / "etc/passwd-").write_text(which)
    (tree / "var/log/dpkg.log").write_text(which)


def debos(bed, checks):
    """Two images of debos, from trees that differ in what a build leaves."""
    if not shutil.which("debos"):
        print("not run: debos is not to be had here")
        return
    section = bed.sections["debos, and mmdebstrap"]
    action = section["yaml"][0]
    start = action.index("  - action: run\n")
    plain = action[:start] + action[action.index("  - action: ostree-commit") :]
    places = []
    for which in ("a", "b"):
        place = bed.folder("debos", which)
        debian_root(place / "base", which)
        run("tar", "-C", place / "base", "-czf", place / "base.tar.gz", ".")
        (place / "image.yaml").write_text(plain)
        bed.shell(place, which, section["sh"][0])
        os.rename(place / "repo", place / "repo-alone")
        (place / "image.yaml").write_text(action)
        bed.shell(place, which, section["sh"][0])
        places.append(place)
    two_and_one(bed, checks, "debos", places, "example/amd64")


def debian_package(place):
    """A repository of one package, of which a root can be made without a network."""
    root = place / "package"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/share/bed").mkdir(parents=True)
    (root / "usr/share/bed/hello").write_text("hello\n")
    control = (
        "Package: bed-hello\nVersion: 1\nArchitecture: all\nMaintainer: bed <bed@example.com>\n"
    )
    (root / "DEBIAN/control").write_text(control + "Description: hello\n")
    # What a maintainer script leaves of the day.
    (root / "DEBIAN/postinst").write_text('#!/bin/sh\ndate >"$DPKG_ROOT/var/log/bed.log"\n')
    (root / "DEBIAN/postinst").chmod(0o755)
    repository = place / "debs"
    repository.mkdir()
    run("dpkg-deb", "--root-owner-group", "-b", root, repository, stdout=subprocess.DEVNULL)
    (repository / "Packages").write_text(output("dpkg-scanpackages", "-m", ".", cwd=repository))
    return repository


def mmdebstrap(bed, checks):
    """Two roots of one package, made as printed."""
    missing = [name for name in ("mmdebstrap", "dpkg-scanpackages") if not shutil.which(name)]
    if missing:
        print(f"not run: {', '.join(missing)} is not to be had here")
        return
    script = bed.sections["debos, and mmdebstrap"]["sh"][1]
    # The printed line takes a suite from a mirror; here it gets a package made on the spot.
    source = f"deb [trusted=yes] copy:{debian_package(bed.work)} ./"
    words = f"--variant=custom --mode=chrootless --include=bed-hello '' rootfs '{source}'"
    script = script.replace("stable rootfs", words)
    places = []
    for which in ("a", "b"):
        place = bed.folder("mmdebstrap", which)
        bed.shell(place, which, script.replace("reprofix fix", "true"))
        for name in ("repo", "rootfs"):
            os.rename(place / name, place / f"{name}-alone")
        bed.shell(place, which, script)
        places.append(place)
    two_and_one(bed, checks, "mmdebstrap", places, "example/amd64")
