"""Programs from crates.io, installed once and kept in the cache."""

import os

from .toolbox import cache
from .tools import run

# Quick to build: for programs that wait more than they compute.
QUICK = {"OPT_LEVEL": "1", "LTO": "off", "CODEGEN_UNITS": "16", "DEBUG": "0"}


def installed(programs, crates, *options, quick=False):
    """The folder of these programs, which the crates have; they are installed if need be."""
    if not all((cache() / "bin" / name).exists() for name in programs):
        profile = {f"CARGO_PROFILE_RELEASE_{key}": value for key, value in QUICK.items()}
        env = os.environ | (profile if quick else {})
        command = ["cargo", "install", "--locked", "--quiet", "--root", cache(), *options]
        run(*command, *crates, env=env)
    return cache() / "bin"
