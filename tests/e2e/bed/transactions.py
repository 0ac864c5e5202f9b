"""The packages of the quick bed, as transactions: the same set in two histories."""

import zlib
from pathlib import Path


def transactions(packages, work, which):
    """Files that list RPMs, one a transaction: three as they come, or turned round and split.

    Services come after what they import, since rpm-ostree sets the times of all files before any
    scriptlet runs, and rpm does not.
    """
    apps = (packages / "apps").read_text().splitlines()
    services = (packages / "services").read_text().splitlines()
    if which == "a":
        parts = [apps, services]
    else:
        chained = [path for path in apps if "/data-" in path]
        others = [path for path in reversed(apps) if path not in chained]
        odd = [path for path in others if zlib.crc32(Path(path).name.encode()) % 2]
        rest = [path for path in others if path not in odd]
        parts = [odd, list(reversed(chained)), rest, services[2:], services[:2]]
    files = [packages / "base"]
    for number, part in enumerate(parts):
        files.append(work / f"transaction-{number}")
        files[-1].write_text("".join(f"{path}\n" for path in part))
    return [word for path in files for word in ("--rpm", path)]
