"""rpm-ostree treefiles: the keys that the beds use, `include` among them.

As in rpm-ostree, lists of an included treefile come before those of the one that includes it, a
single value of the including treefile wins, maps are merged key by key, and paths are relative to
the treefile that names them.
"""

import stat
from pathlib import Path

import yaml

PATH_KEYS = ("postprocess-script", "packages-file")


def absolute_paths(tree, folder):
    for key in PATH_KEYS:
        if key in tree:
            tree[key] = str(folder / tree[key])
    if "add-files" in tree:
        tree["add-files"] = [[str(folder / source), to] for source, to in tree["add-files"]]


def merge(below, above):
    """`above` includes `below`."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, list) and isinstance(value, list):
            merged[key] = old + value
        elif isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def load(path):
    """Read a treefile and all that it includes."""
    path = Path(path).resolve()
    tree = yaml.safe_load(path.read_text()) or {}
    absolute_paths(tree, path.parent)
    includes = tree.pop("include", [])
    merged = {}
    for include in [includes] if isinstance(includes, str) else includes:
        merged = merge(merged, load(path.parent / include))
    return merge(merged, tree)


def finalizers(path):
    """The scripts in finalize.d beside a treefile and beside all that it includes, by name.

    As in rpm-ostree, what is no regular file itself (a symbolic link) and what its owner may not
    execute is left out silently, and of two scripts of one name the included one counts.
    """
    path = Path(path).resolve()
    found = {}
    folder = path.parent / "finalize.d"
    for script in sorted(folder.iterdir()) if folder.is_dir() else ():
        mode = script.lstat().st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IXUSR:
            found[script.name] = script
    includes = (yaml.safe_load(path.read_text()) or {}).get("include", [])
    for include in [includes] if isinstance(includes, str) else includes:
        found |= finalizers(path.parent / include)
    return dict(sorted(found.items()))


def packages(tree):
    """What the treefile asks for: `packages`, and the lines of `packages-file`."""
    names = list(tree.get("packages", []))
    if "packages-file" in tree:
        lines = Path(tree["packages-file"]).read_text().splitlines()
        names += [line for line in lines if line and not line.startswith("#")]
    return names
