"""Each plugin switched off in turn: `check` must name what that plugin would have removed, no more."""

import json
import subprocess

from .tools import output, remove, run, step


class Switches:
    """`trees` are two that differ for every reason that their bed knows; copies go to `work`."""

    def __init__(self, trees, work, reprofix, epoch):
        self.trees, self.work, self.reprofix, self.epoch = trees, work, reprofix, str(epoch)

    def check(self, trees):
        """`reprofix check` of two directories: exit code, and cause by path."""
        command = [self.reprofix, "check", *[f"dir:{tree}" for tree in trees], "--json", "-"]
        words = [str(word) for word in [*command, "--source-date-epoch", self.epoch]]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode > 1:
            raise RuntimeError(done.stderr)
        rows = json.loads(done.stdout)["differences"]
        return done.returncode, {row["path"]: row["cause"] for row in rows}

    def without(self, *plugins):
        """What `check` finds between copies of both trees in normal form but for these plugins."""
        copies = [self.work / f"switched-{which}" for which in ("a", "b")]
        skip = [word for plugin in plugins for word in ("--skip", plugin)]
        for tree, copy in zip(self.trees, copies):
            remove(copy)
            run("cp", "-a", "--reflink=auto", tree, copy)
            run(self.reprofix, "fix", "--quiet", "--source-date-epoch", self.epoch, *skip, copy)
        found = self.check(copies)
        for copy in copies:
            remove(copy)
        return found

    def one(self, checks, plugin, mine, stays):
        """Without `plugin`, just the paths `mine` differ beside those that `stays` names."""
        code, found = self.without(plugin)
        checks.same(f"without {plugin} check exits 1", code, 1)
        found = {path: cause for path, cause in found.items() if path not in stays}
        checks.same(f"without {plugin} its paths differ", sorted(found), sorted(mine))
        # What copies another path names the plugin by way of that path.
        others = {
            path: cause
            for path, cause in found.items()
            if cause["kind"] != "cascade" and cause.get("plugins") != [plugin]
        }
        checks.same(f"without {plugin} it explains all of them", others, {})

    def each_in_turn(self, checks, least):
        """At least `least` plugins must have something to do here."""
        names = [row["name"] for row in json.loads(output(self.reprofix, "plugins", "--json"))]
        _, before = self.check(self.trees)
        _, stays = self.without()
        fixed = {path: cause.get("plugins", []) for path, cause in before.items()}
        seen = []
        for plugin in names:
            mine = [path for path, plugins in fixed.items() if plugin in plugins]
            if mine:
                seen.append(plugin)
                with step(f"without {plugin}"):
                    self.one(checks, plugin, mine, stays)
        nothing = [name for name in names if name not in seen]
        print(f"nothing differs here for {', '.join(nothing)}")
        checks.that(f"{len(seen)} plugins were switched off in turn", len(seen) >= least)
