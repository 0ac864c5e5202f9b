"""Roots that a newer rpm and dnf5 install in several orders, with rpm-ostree's steps after them.

The packages are built once, by the rpm of the root. Each tool then installs them under one of two sets
of circumstances: a base, and three packages in the order of the side. What rpm-ostree does between
installation and commit is layout.py's, here with the rpm of the root too.
"""

import json
import shutil

from . import toolbox
from .tools import E2E, remove, run

# What each suite has: the tools by name, and their packages. Debian 13 has no dnf5.
TOOLS = {
    "trixie": {"rpm": "rpm python3"},
    "sid": {"rpm": "rpm python3", "dnf5": "dnf5 createrepo-c"},
}
# The history quotes the command line, in which the packages are in the order of the side.
STAYS = {"usr/lib/sysimage/libdnf5/transaction_history.sqlite": "dnf-history"}
# The sides, with the circumstances and the order of each.
SIDES = {"a": ("a", "1 2 3"), "b": ("b", "3 2 1"), "c": ("b", "2 3 1")}

SPEC = """Name: bed%(n)s
Version: 1
Release: 1
Summary: x
License: x
BuildArch: noarch
%(more)s
%%description
x
%%install
%(install)s
%%files
%(files)s
"""
INSTALL = {
    "0": """
        cd %{buildroot}
        mkdir -p etc var/lib usr/lib usr/bin opt srv home root mnt media tmp run
        printf 'root:x:0:0:root:/root:/bin/sh\\n' >%{buildroot}/etc/passwd
        printf 'root:x:0:\\n' >%{buildroot}/etc/group
        printf 'passwd: files\\ngroup: files\\n' >%{buildroot}/etc/nsswitch.conf
        printf 'NAME=Bed\\nID=bed\\nVERSION_ID=1\\n' >%{buildroot}/usr/lib/os-release
    """,
    "1": """
        mkdir -p %{buildroot}/usr/lib/python3/bed %{buildroot}/etc
        echo 'X = 1' >%{buildroot}/usr/lib/python3/bed/x.py
        echo one >%{buildroot}/etc/bed.conf
    """,
    "2": """
        mkdir -p %{buildroot}/usr/lib/sysusers.d
        echo 'u bed-two - "Bed" /' >%{buildroot}/usr/lib/sysusers.d/bed2.conf
    """,
    "3": """
        mkdir -p %{buildroot}/usr/share/bed
        echo three >%{buildroot}/usr/share/bed/three
        ln %{buildroot}/usr/share/bed/three %{buildroot}/usr/share/bed/again
    """,
}
FILES = {
    "0": "/etc\n/var\n/usr\n/opt\n/srv\n/home\n/root\n/mnt\n/media\n/tmp\n/run",
    "1": "%config(noreplace) /etc/bed.conf\n/usr/lib/python3",
    "2": "/usr/lib/sysusers.d/bed2.conf",
    "3": "/usr/share/bed",
}
MORE = {
    "3": "Requires: bed0\nObsoletes: bed9 < 1\n",
    "1": "Requires: bed0\n",
    "2": "Requires: bed0\n",
}

BUILD = """
cd /tmp
export SOURCE_DATE_EPOCH=1600000000
for n in 0 1 2 3; do
    rpmbuild -bb --quiet --nodeps --define '_topdir /tmp/rpmbuild' --define '_rpmdir /opt/rpms' \\
        --define '_rpmfilename %%{NAME}.rpm' --define '__os_install_post %{nil}' \\
        --define '_build_id_links none' --define '_buildhost bed.invalid' \\
        --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \\
        /usr/share/bed/specs/bed$n.spec
done
if command -v createrepo_c >/dev/null; then createrepo_c --quiet /opt/rpms; fi
"""
INSTALLED = {
    "rpm": """
        mkdir -p /opt/root
        for n in 0 $ORDER; do
            rpm --root /opt/root --install --nosignature /usr/share/bed/rpms/bed$n.rpm
        done
    """,
    "dnf5": """
        mkdir -p /opt/root
        dnf() {
            dnf5 --installroot=/opt/root --repofrompath=bed,file:///usr/share/bed/rpms --no-gpgchecks \\
                --setopt=reposdir=/nonexistent --releasever=1 --assumeyes "$@"
        }
        dnf install bed0
        dnf install $(printf 'bed%s ' $ORDER)
    """,
}
STEPS = """
cd /
python3 -B - <<'EOF'
import sys
from pathlib import Path
sys.path.insert(0, "/usr/share/bed/e2e")
from bed import layout
root, treefile = Path("/opt/root"), {"ref": "bed/1"}
layout.usr_layout(root, treefile)
layout.accounts(root)
layout.top_level(root)
layout.rewrite_rpmdb(root, treefile)
EOF
"""
READERS = {
    "rpm": """
        mkdir -p /etc/rpm; echo '%_dbpath /usr/share/rpm' >/etc/rpm/macros
        rpmdb --root /opt/root --verifydb
        rpm --root /opt/root -qa --qf '%{NEVRA} [%{FILENAMES} %{FILEDIGESTS} ]\\n' | sort
        rpm --root /opt/root -qf /usr/share/bed/again
        rpm --root /opt/root -Va || :
    """,
    "dnf5": """
        mkdir -p /etc/rpm; echo '%_dbpath /usr/share/rpm' >/etc/rpm/macros
        rpm --root /opt/root -qa | sort
        dnf5 --installroot=/opt/root --setopt=reposdir=/nonexistent --releasever=1 --quiet \\
            repoquery --installed --qf '%{full_nevra} %{reason}\\n'
        dnf5 --installroot=/opt/root --setopt=reposdir=/nonexistent --releasever=1 --quiet history list |
            awk '{ print $1, NF }'
    """,
}


def packages(suite):
    """What the root needs for its tools."""
    return " ".join(TOOLS[suite].values()).split()


def built(options):
    """The packages, made by the root's rpmbuild, among the inputs of every side."""
    place, inputs = options.workdir / "scratch-rpms", options.workdir / "input"
    specs = inputs / "specs"
    specs.mkdir(parents=True)
    for n, install in INSTALL.items():
        words = {"n": n, "install": install, "files": FILES[n], "more": MORE.get(n, "")}
        (specs / f"bed{n}.spec").write_text(SPEC % words)
    shutil.copytree(E2E / "bed", inputs / "e2e/bed", ignore=shutil.ignore_patterns("__pycache__"))
    toolbox.layered(options.root, place / "upper", place / "work", place / "root")
    shutil.copytree(inputs, place / "root/usr/share/bed")
    done = toolbox.inside(place / "root", BUILD)
    toolbox.unmount(place / "root")
    if done.returncode:
        raise SystemExit(f"rpmbuild: {done.stdout}{done.stderr}")
    run("cp", "-a", place / "upper/opt/rpms", inputs / "rpms")
    remove(place)


def make(options, faked):
    """One side, inside its circumstances: each tool's root, after rpm-ostree's steps."""
    side, work = options.make, options.workdir
    told = {}
    for tool in TOOLS[options.suite]:
        scratch = work / f"scratch-{side}-installroots" / tool
        upper, root = scratch / "upper", scratch / "root"
        toolbox.layered(options.root, upper, scratch / "work", root)
        shutil.copytree(work / "input", root / "usr/share/bed")
        script = INSTALLED[tool] + STEPS
        done = toolbox.inside(root, script, ORDER=SIDES[side][1], SIDE=side, **faked)
        told[tool] = f"{done.stdout}{done.stderr}"[-2000:] if done.returncode else ""
        toolbox.unmount(root)
        place = work / f"{tool}-{side}"
        run("cp", "-dR", "--preserve=mode,ownership,timestamps,links", upper / "opt/root", place)
    (work / f"installed-{side}.json").write_text(json.dumps(told))


def answers(options, tool, side):
    """What rpm or dnf5 says of a tree."""
    place = options.workdir / "read"
    (place / "upper/opt").mkdir(parents=True)
    run("cp", "-a", options.workdir / f"{tool}-{side}", place / "upper/opt/root")
    toolbox.layered(options.root, place / "upper", place / "work", place / "root")
    try:
        done = toolbox.inside(place / "root", READERS[tool])
        return done.returncode, done.stdout, done.stderr if done.returncode else ""
    finally:
        toolbox.unmount(place / "root")
        remove(place)


def version(options, tool):
    """The tool's version, in its own words."""
    return toolbox.inside(options.root, f"{tool} --version").stdout.splitlines()[0]


def hold(options, checks, compare, fix):
    """What `check` says of the trees, and that `fix` makes one of them. Gives rows for the table."""
    rows = []
    for side in SIDES:
        told = json.loads((options.workdir / f"installed-{side}.json").read_text())
        for tool, failed in told.items():
            checks.that(f"{tool} installs in order {side}", not failed, failed)
    for tool in TOOLS[options.suite]:
        trees = {side: f"{tool}-{side}" for side in SIDES}
        before = {}
        for side in "bc":
            found = compare(options, trees["a"], trees[side])
            print(f"{tool}: {len(found)} paths differ between a and {side}")
            for path, row in found.items():
                cause = row["cause"]
                print(f"  {cause['kind']:12} {path}  {cause}")
                checks.that(f"{tool} {side}: {path} is explained", cause["kind"] != "unexplained")
            before |= found
        said = {side: answers(options, tool, side) for side in SIDES}
        for tree in trees.values():
            fix(options, tree)
        left = {}
        for side in "bc":
            found = compare(options, trees["a"], trees[side])
            theirs = {path: row["cause"].get("plugin") for path, row in found.items()}
            wanted = {path: who for path, who in STAYS.items() if tool == "dnf5"}
            checks.same(f"{tool}: a and {side} are one after fix, but for {wanted}", theirs, wanted)
            left |= found
        for side, words in said.items():
            checks.that(f"{tool} reads {side}", words[0] == 0 and words[1].strip(), words)
            checks.same(f"{tool} reads {side} as before", answers(options, tool, side), words)
        causes = {plugin for row in before.values() for plugin in row["cause"].get("plugins", [])}
        shown = ", ".join(f"`{path}`" for path in sorted(before)) or "nothing"
        rest = ", ".join(f"`{path}`" for path in sorted(left)) or "equal"
        name = f"{tool} installroots in three orders"
        rows.append((name, version(options, tool), shown, ", ".join(sorted(causes)), rest, "yes"))
    return rows
