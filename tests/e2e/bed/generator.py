"""What a generator is: what it needs, how it runs, and who reads what it wrote.

A script runs as root in a chroot whose layer is thrown away but for what it wrote. `$ORDER` is `1 2 3`
on one side and `3 2 1` on the other: the order in which scriptlets would have come. `$SIDE` is the
name of the side, and `/usr/share/bed` holds three certificates and a key with its own.
A reader prints what a program understands of the files; it must say the same after `fix`. An empty
reader is one for files that `fix` only removes, or that it never writes.
A remedy is what the reason of a row says to do where `fix` leaves the files: it runs in place of the
script, on both sides, and its files must be equal after `fix`. Both come after `prepare`.
"""

from typing import NamedTuple


class Generator(NamedTuple):
    """One program, or some of one kind."""

    packages: str
    version: str
    script: str
    reader: str = ""
    remedy: str = ""
    prepare: str = ""
    # Only where the whole bed runs: too large for every run of CI.
    large: bool = False
