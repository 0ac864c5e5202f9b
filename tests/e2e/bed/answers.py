"""What rpm says of a tree: the questions whose answers a fixed tree must give as before."""

import subprocess

from .layout import RPMDB


def ask(root, *question):
    """An rpm query inside a root; what it prints, sorted, since order is what fix changes."""
    command = ["rpm", "--root", str(root), "--dbpath", f"/{RPMDB}", *question]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("rpm: ")]
    return sorted(done.stdout.splitlines() + lines)


def questions(root):
    """The questions, by name. What is provided and required is asked of the tree itself."""
    provides = sorted(set(ask(root, "-qa", "--qf", "[%{PROVIDENAME}\\n]")))
    requires = sorted(set(ask(root, "-qa", "--qf", "[%{REQUIRENAME}\\n]")))
    every = "%{NEVRA} %{SHA256HEADER} %{SIGMD5} [%{FILENAMES} ][%{FILESTATES} ]\\n"
    return {
        "-qa": ask(root, "-qa"),
        "-qa with headers' digests and files": ask(root, "-qa", "--qf", every),
        "--whatprovides": ask(root, "-q", "--whatprovides", *provides),
        "--whatrequires": ask(root, "-q", "--whatrequires", *requires),
        "-qf": ask(root, "-qf", "/usr/bin/bash", "/usr/bin/python3", "/etc/passwd"),
        "--triggers": ask(root, "-qa", "--triggers"),
        "--filetriggers": ask(root, "-qa", "--filetriggers"),
    }


def verification(root):
    """rpm -Va, but for bytecode: that a package's bytecode is missing is what pycache is for."""
    return [line for line in ask(root, "-Va") if not line.endswith((".pyc", "__pycache__"))]


def verifydb(root):
    """Whether rpmdb finds the database sound, and what it prints."""
    command = ["rpmdb", "--root", str(root), "--dbpath", f"/{RPMDB}", "--verifydb"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout
