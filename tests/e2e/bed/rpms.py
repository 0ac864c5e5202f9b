"""rpmbuild without a source: a spec and a filled build root become one reproducible RPM."""

import os
import platform
import re
import subprocess

DEFINES = {
    "_buildhost": "bed.invalid",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "build_mtime_policy": "clamp_to_source_date_epoch",
    "_binary_payload": "w1.gzdio",
    "__os_install_post": "%{nil}",
    "debug_package": "%{nil}",
    "_build_id_links": "none",
    "__spec_install_pre": "%{nil}",
    "__check_files": "%{nil}",
    "__spec_clean_body": "%{nil}",
    "_unpackaged_files_terminate_build": "0",
    "_missing_doc_files_terminate_build": "0",
    # for a package with a name that is not UTF-8
    "_invalid_encoding_terminates_build": "0",
    "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
}
USR_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class BuildFailed(Exception):
    """What rpmbuild printed."""


def build(spec, root, work, out, arch, epoch):
    """Build one package; `arch` is noarch or native."""
    arch = platform.machine() if arch == "native" else arch
    file = work / "package.spec"
    file.write_text(spec)
    command = ["rpmbuild", "-bb", "--quiet", "--nodeps", "--noclean", "--target", f"{arch}-linux"]
    command += ["--buildroot", root, "--define", f"_topdir {work}", "--define", f"_rpmdir {out}"]
    for key, value in DEFINES.items():
        command += ["--define", f"{key} {value}"]
    env = dict(os.environ, SOURCE_DATE_EPOCH=str(epoch), LC_ALL="C.UTF-8", TZ="UTC")
    done = subprocess.run(
        [str(word) for word in [*command, file]],
        env=env,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        raise BuildFailed(f"{spec.splitlines()[0]}\n{done.stdout}{done.stderr}")


def listed(path):
    """A path as %files takes it: % doubled, what it cannot quote as a pattern of one character."""
    return '"' + re.sub(r"[\[\]{}*\\]", "?", path.replace("%", "%%")) + '"'


def tree_lines(root, top="", config=(), depth=0):
    """%files lines for all below a folder; folders less deep than `depth` are left to others."""
    lines = []
    for folder, folders, files in os.walk(root / top):
        below = os.path.relpath(folder, root)
        prefix = "" if below == "." else f"/{below}"
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(set(folders) - set(links))
        if prefix.count("/") > depth:
            lines.append(f"%dir {listed(prefix)}")
        for name in sorted(files + links):
            path = f"{prefix}/{name}"
            mark = "%config(noreplace) " if path in config else ""
            lines.append(mark + listed(path))
    return lines
