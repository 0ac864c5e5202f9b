"""Times that know how noisy they are, for the benchmarks.

A ratio of two times is worth nothing where the runs of either differ by chance: a time here knows its
spread, which is how far the middle run is above the least, and so does all that is computed from it.
"""

import os
import statistics
import subprocess
import tempfile
import time

# Above it a ratio is not printed.
NOISE = 0.2
MEGABYTE = 1 << 20


class Seconds(float):
    """A time, or what was computed from times, with the greatest spread of them."""

    def __new__(cls, value, spread=0.0):
        self = super().__new__(cls, value)
        self.spread = spread
        return self

    @classmethod
    def of(cls, runs):
        """The least of several runs."""
        runs = list(runs)
        least = min(runs)
        return cls(least, (statistics.median(runs) - least) / least if least else 0.0)

    def _with(self, value, other):
        return Seconds(value, max(self.spread, getattr(other, "spread", 0.0)))

    def __add__(self, other):
        return self._with(float(self) + float(other), other)

    def __sub__(self, other):
        return self._with(float(self) - float(other), other)

    def __mul__(self, other):
        return self._with(float(self) * float(other), other)

    def __truediv__(self, other):
        return self._with(float(self) / float(other), other)

    __radd__, __rmul__ = __add__, __mul__


def is_noisy(value):
    return getattr(value, "spread", 0.0) > NOISE


def ratio(value, digits=2):
    """A ratio for people, or why there is none."""
    if is_noisy(value):
        return f"no ratio: runs differ by {value.spread:.0%}, at most {NOISE:.0%}"
    return f"{value:.{digits}f}"


def holds(value, most):
    """Whether a ratio is within its bound: a noisy one is not known to be."""
    return not is_noisy(value) and value <= most


class Run:
    """Several runs of one command: wall clock, processor time, peak memory in bytes."""

    def __init__(self, command, runs=5, codes=(0,), before=None):
        walls, busies, self.memory = [], [], 0
        for _ in range(runs):
            if before:
                before()
            # A child of ours would begin with the memory that we take, so `time` starts it.
            with tempfile.NamedTemporaryFile() as peak:
                words = ["/usr/bin/time", "-qf", "%M", "-o", peak.name, *map(str, command)]
                start = time.perf_counter()
                process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
                _, status, usage = os.wait4(process.pid, 0)
                walls.append(time.perf_counter() - start)
                process.returncode = os.waitstatus_to_exitcode(status)
                if process.returncode not in codes:
                    raise SystemExit(f"{words} ended with {process.returncode}")
                self.memory = max(self.memory, int(peak.read()) * 1024)
            busies.append(usage.ru_utime + usage.ru_stime)
        self.wall, self.busy = Seconds.of(walls), Seconds.of(busies)


def shell(command, runs=5):
    """The same of a shell command, whose children's time counts."""
    return Run(["bash", "-c", f"set -o pipefail; {command}"], runs)


def peers(*commands):
    """One line with the version of each program that is measured beside ours."""
    found = []
    for command in commands:
        words = command if isinstance(command, list) else [command, "--version"]
        try:
            said = subprocess.run(words, capture_output=True, text=True)
            lines = (said.stdout or said.stderr).strip().splitlines()
            found.append(lines[0] if lines else str(words[0]))
        except OSError:
            found.append(f"{words[0]}: not here")
    print("beside it: " + "; ".join(found), flush=True)


def load():
    """How busy the machine is, for people."""
    return f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
