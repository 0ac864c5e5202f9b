"""Trees, images, histories of a given size, for the benchmarks: the same for the same numbers."""

import gzip
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import tarfile
import zlib
from pathlib import Path

from .tools import PROJECT

EPOCH = 1_700_000_000
WORDS = [bytes([97 + n % 26]) * (n % 7 + 2) + b" " for n in range(997)]


def text(dice, size):
    """Bytes that compress as programs and documents do, to about a third."""
    half = b"".join(dice.choices(WORDS, k=size // 10 + 1))[: size // 2]
    return half + dice.randbytes(size // 4) + half[: size - size // 4 - len(half)]


def tree(root, files, seed=1, average=4000):
    """A root of so many files, twelve in a directory; one in ten is a gzip file with a time in it."""
    dice = random.Random(seed)
    for n in range(files):
        folder = root / f"usr/share/{n // 12 % 71}/{n // 12}"
        folder.mkdir(parents=True, exist_ok=True)
        content = text(dice, dice.randrange(average * 2))
        if n % 10 == 0:
            content = gzip.compress(content, 1, mtime=EPOCH + 9)
        path = folder / (f"{n}.gz" if n % 10 == 0 else f"{n}")
        path.write_bytes(content)
        os.utime(path, (EPOCH + 9, EPOCH + 9))


def differ(root, count):
    """Appends a byte to so many of a tree's files."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for path in files[:: max(1, len(files) // count)][:count]:
        path.write_bytes(path.read_bytes() + b"x")


def archive(path, size, mode=0o644):
    """A tar archive of about so many bytes; the last file has this mode."""
    dice, left = random.Random(2), size
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        number = 0
        while left > 0:
            content = text(dice, min(left, dice.choice([3_000, 20_000, 200_000])))
            left -= max(len(content), 512)
            member = tarfile.TarInfo(f"usr/lib/part{number // 40}/file{number}")
            member.size, member.mtime = len(content), EPOCH
            member.mode = mode if left <= 0 else 0o644
            place = path.with_suffix(".part")
            place.write_bytes(content)
            with place.open("rb") as part:
                tar.addfile(member, part)
            place.unlink()
            number += 1


def layout(folder, plain, compress, kind):
    """An OCI layout of one image with one layer: `compress` is the command that makes it."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(content):
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"digest": f"sha256:{name}", "size": len(content)}

    diff_id = hashlib.sha256(plain.read_bytes()).hexdigest()
    with plain.open("rb") as file:
        packed = subprocess.run(compress, stdin=file, stdout=subprocess.PIPE, check=True).stdout
    layer = blob(packed) | {"mediaType": f"application/vnd.oci.image.layer.v1.tar+{kind}"}
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]}
    config = {"os": "linux", "architecture": "amd64", "rootfs": rootfs}
    config = blob(json.dumps(config).encode())
    config["mediaType"] = "application/vnd.oci.image.config.v1+json"
    manifest = {"schemaVersion": 2, "config": config, "layers": [layer]}
    entry = blob(json.dumps(manifest).encode())
    entry["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    index = {"schemaVersion": 2, "manifests": [entry]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return blobs / layer["digest"].removeprefix("sha256:")


def boot_image(path, size, work):
    """A boot image of so many unpacked bytes, `zstd -3`; its inode numbers are to be counted anew."""
    root = work / "boot"
    dice = random.Random(3)
    for n in range(max(1, size // 200_000)):
        folder = root / f"usr/lib/modules/{n // 40}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n}.ko").write_bytes(text(dice, 200_000))
    pack = f"find . | LC_ALL=C sort | cpio -o -H newc --quiet | zstd -q -3 -T0 -f -o {path}"
    subprocess.run(pack, shell=True, check=True, cwd=root)


def history(path, runs, differences=50, streams=10):
    """A nightly record of so many runs, in the form of the first release: opening it migrates it."""
    db = sqlite3.connect(path)
    db.executescript((PROJECT / "src/history/schema.sql").read_text())
    db.execute("PRAGMA application_id = 0x72706678")
    db.execute("PRAGMA user_version = 1")

    def stored(content):
        facts = (hashlib.sha256(content).digest(), len(content), zlib.compress(content))
        db.execute("INSERT OR IGNORE INTO text (sha256, size, zlib) VALUES (?, ?, ?)", facts)
        return db.execute("SELECT id FROM text WHERE sha256 = ?", facts[:1]).fetchone()[0]

    def name(word):
        db.execute("INSERT OR IGNORE INTO name (name) VALUES (?)", (word,))
        return db.execute("SELECT id FROM name WHERE name = ?", (word,)).fetchone()[0]

    paths = [name(f"usr/lib/module-{n % 40}/file-{n}.conf") for n in range(500)]
    owners = [name(f"package-{n}") for n in range(40)]
    content, fixed, pycache = name("content"), name("fixed"), name("pycache")
    for n in range(runs):
        lines = "".join(f"package-{p:03} 1.{(n // streams + p) // 20}\n" for p in range(500))
        row = (f"stream-{n % streams}", EPOCH + n // streams * 86_400, f"token-{n}", f"{n}")
        number = db.execute(
            "INSERT INTO run (stream, architecture, kind, verdict, started, version, host, token,"
            " inputs, skipped, notes, packages)"
            " VALUES (?, 'x86_64', 'build', 'different', ?, '0', 'host', ?, ?, '[]', '[]', ?)",
            (*row, stored(lines.encode())),
        ).lastrowid
        rows = []
        for seq in range(differences):
            place = (n // 50 * 7 + seq * 3) % 500
            said = stored(f"byte {place} differs: {n:x}".encode())
            rows.append(
                (number, seq, paths[place], content, fixed, pycache, owners[place % 40], said)
            )
        db.executemany("INSERT INTO difference VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    db.commit()
    db.close()


def database(path, packages):
    """An rpm database of so many packages."""
    real = PROJECT / "tests/fixtures/rpmdb/real/sqlite/cbl-mariner-2/rpmdb.sqlite"
    made = [PROJECT / "benches/rpmdb-database", real, path, str(packages)]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    return Path(path)
