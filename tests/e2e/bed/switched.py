"""Each plugin switched off in turn: `check` must name what that plugin would have removed, no more."""

import json
import subprocess

from .tools import output, remove, run, step


def plugins(reprofix):
    """Names of all plugins, in registry order."""
    return [row["name"] for row in json.loads(output(reprofix, "plugins", "--json"))]


def check(reprofix, trees, epoch, *more):
    """`reprofix check` of two directories: exit code, and cause by path."""
    command = [reprofix, "check", *[f"dir:{tree}" for tree in trees], "--json", "-"]
    command += ["--source-date-epoch", epoch, *more]
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode > 1:
        return done.returncode, done.stderr
    rows = json.loads(done.stdout)["differences"]
    return done.returncode, {row["path"]: row["cause"] for row in rows}


def fixed_without(reprofix, pair, plugin, epoch):
    """Copies of both trees, in normal form but for one plugin."""
    trees = []
    for which in ("a", "b"):
        tree = pair.work / f"without-{which}"
        remove(tree)
        run("cp", "-a", "--reflink=auto", pair.tree_of(which), tree)
        more = ["--skip", plugin] if plugin else []
        run(reprofix, "fix", "--quiet", "--source-date-epoch", epoch, *more, tree)
        trees.append(tree)
    return trees


def each_in_turn(checks, pair, reprofix, epoch):
    """`pair` is one made without reprofix, which differs for every reason that its bed knows."""
    code, before = check(reprofix, [pair.tree_of(w) for w in ("a", "b")], epoch)
    checks.same("check exits 1", code, 1)
    seen = set()
    for plugin in plugins(reprofix):
        mine = {path for path, cause in before.items() if plugin in cause.get("plugins", [])}
        if not mine:
            print(f"not switched off, nothing differs for it here: {plugin}")
            continue
        seen.add(plugin)
        with step(f"without {plugin}"):
            trees = fixed_without(reprofix, pair, plugin, epoch)
            code, found = check(reprofix, trees, epoch)
        checks.same(f"without {plugin} check exits 1", code, 1)
        # What copies another path names the plugin by way of that path.
        causes = {path: cause for path, cause in found.items() if cause["kind"] != "cascade"}
        others = {p: c for p, c in causes.items() if c.get("plugins") != [plugin]}
        checks.same(f"without {plugin} it explains all that differs", others, {})
        checks.same(f"without {plugin} its paths differ", sorted(found), sorted(mine))
    checks.that(f"several plugins were switched off: {', '.join(sorted(seen))}", len(seen) > 4)
    trees = fixed_without(reprofix, pair, None, epoch)
    checks.same("with all of them the trees are the same", check(reprofix, trees, epoch)[0], 0)
    for tree in trees:
        remove(tree)
