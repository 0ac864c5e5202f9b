"""Independent answers to what reprofix says: tree differences and content checksums.

Nothing here shares code with reprofix, so that a test compares two derivations.

ContentChecksum = SHA-256(root dirtree checksum, root dirmeta checksum), both binary
dirtree  (a(say)a(sayay))  files (name, checksum), folders (name, dirtree, dirmeta), by strcmp
dirmeta  (uuua(ayay))      big-endian uid, gid, mode; xattrs sorted by name
content  SHA-256(u32 length of header, 4 zeros, header, bytes); header (uuuusa(ayay))
"""

import hashlib
import os
import stat
import struct

from .tools import output


def framed(body, ends):
    """GVariant: the framing offsets in the smallest width that fits, after the body."""
    if not ends:
        return body
    for width in (1, 2, 4, 8):
        if len(body) + width * len(ends) < 1 << (8 * width):
            break
    return body + b"".join(end.to_bytes(width, "little") for end in ends)


def array(elements):
    body, ends = bytearray(), []
    for element in elements:
        body += element
        ends.append(len(body))
    return framed(bytes(body), ends)


def tuple_of(*parts):
    """A GVariant tuple of parts of variable size and alignment 1."""
    body, ends = bytearray(), []
    for index, part in enumerate(parts):
        body += part
        if index < len(parts) - 1:
            ends.insert(0, len(body))
    return framed(bytes(body), ends)


def xattrs(path):
    names = os.listxattr(path, follow_symlinks=False)
    return sorted((os.fsencode(n), os.getxattr(path, n, follow_symlinks=False)) for n in names)


def xattr_array(path):
    return array([tuple_of(name + b"\0", value) for name, value in xattrs(path)])


def file_bytes(path):
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            yield block


def file_checksum(path, info):
    is_link = stat.S_ISLNK(info.st_mode)
    target = os.fsencode(os.readlink(path)) if is_link else b""
    fixed = struct.pack(">IIII", info.st_uid, info.st_gid, info.st_mode, 0) + target + b"\0"
    header = framed(fixed + xattr_array(path), [len(fixed)])
    digest = hashlib.sha256(struct.pack(">II", len(header), 0) + header)
    if not is_link:
        for block in file_bytes(path):
            digest.update(block)
    return digest.digest()


def dirmeta(path):
    info = os.lstat(path)
    fixed = struct.pack(">III", info.st_uid, info.st_gid, info.st_mode)
    return hashlib.sha256(fixed + xattr_array(path)).digest()


def dirtree(path):
    files, folders = [], []
    for entry in sorted(os.scandir(os.fsencode(path)), key=lambda entry: entry.name):
        info = entry.stat(follow_symlinks=False)
        name = entry.name + b"\0"
        if stat.S_ISDIR(info.st_mode):
            folders.append(tuple_of(name, dirtree(entry.path), dirmeta(entry.path)))
        else:
            files.append(tuple_of(name, file_checksum(entry.path, info)))
    return hashlib.sha256(tuple_of(array(files), array(folders))).digest()


def content_checksum(path):
    """What ostree calls the content checksum, from a folder."""
    return hashlib.sha256(dirtree(path) + dirmeta(path)).hexdigest()


def scan(root):
    found = {b".": os.lstat(root)}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, top)] = os.lstat(path)
    return found


def content_digest(path, info):
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(info.st_mode):
        return None
    digest = hashlib.sha256()
    for block in file_bytes(path):
        digest.update(block)
    return digest.digest()


def compare(left, right, left_info, right_info):
    """In what two paths differ; times are left out, as ostree leaves them out."""
    if stat.S_IFMT(left_info.st_mode) != stat.S_IFMT(right_info.st_mode):
        return ["type"]
    kinds = []
    if left_info.st_mode != right_info.st_mode:
        kinds.append("mode")
    if (left_info.st_uid, left_info.st_gid) != (right_info.st_uid, right_info.st_gid):
        kinds.append("owner")
    if content_digest(left, left_info) != content_digest(right, right_info):
        kinds.append("content")
    if xattrs(left) != xattrs(right):
        kinds.append("xattr")
    return kinds


def differences(left, right):
    """Every path that differs between two folders: {path: [kinds]}."""
    left_paths, right_paths = scan(left), scan(right)
    found = {}
    for path in sorted(left_paths.keys() | right_paths.keys()):
        name = path.decode("utf-8", "backslashreplace")
        if path not in right_paths:
            found[name] = ["only-a"]
        elif path not in left_paths:
            found[name] = ["only-b"]
        else:
            places = [os.path.join(os.fsencode(root), path) for root in (left, right)]
            kinds = compare(*places, left_paths[path], right_paths[path])
            if kinds:
                found[name] = kinds
    return found


def checkout(repo, revision, place):
    """A commit as plain files."""
    output("ostree", f"--repo={repo}", "checkout", "--fsync=false", revision, place)
    return place
