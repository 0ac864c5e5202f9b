"""Small images of every maker, compression and successor: two boots judge all of them."""

import re

from . import judge, readers
from .tools import step

EPOCH = 1_700_000_000


class Judged:
    """Each image is made in two orders, fixed, compared, booted, read."""

    def __init__(self, bed, every=False):
        """`every` image is read, not only one of each maker and of each compression."""
        self.every = every
        self.bed, self.checks, self.work = bed, bed.checks, bed.work / "judged"
        self.work.mkdir()
        self.cases = judge.cases()
        # Reasons and names of cases that are not as they should be; what each reader misread.
        self.refused, self.wrong, self.misread = {}, set(), {}
        makers = {case.maker for case in self.cases}
        self.archives = {
            (maker, order): judge.made(maker, order, self.work)
            for maker in makers
            for order in judge.ORDERS
        }
        self.root = self.work / "root/usr/lib/modules"

    def put(self, case, order):
        place = self.root / f"{case.name}.{order}"
        place.mkdir(parents=True)
        data = case.make(self.archives, order)
        (place / "initramfs.img").write_bytes(data)
        return data

    def fixed(self, case, order):
        return self.place(case, order).read_bytes()

    def place(self, case, order):
        return self.root / f"{case.name}.{order}" / "initramfs.img"

    def boot(self, images, end):
        image = self.work / "joined.img"
        image.write_bytes(judge.joined(images, end))
        return judge.boot(self.bed.kernel.vmlinuz, image, self.work)

    def run(self):
        with step(f"{len(self.cases)} small images, made twice"):
            before = [self.put(case, "a") for case in self.cases]
            second = [self.put(case, "b") for case in self.cases]
        models = [self.model(data) for data in before]
        self.fix()
        after = [self.fixed(case, "a") for case in self.cases]
        same = [self.fixed(case, "b") == data for case, data in zip(self.cases, after)]
        differ = [case.name for case, one in zip(self.cases, same) if not one]
        self.wrong.update(differ)
        self.checks.same("two orders come out one", differ, [])
        made = [case.name for case, a, b in zip(self.cases, before, second) if a == b]
        sorts = [name for name in made if not name.startswith(("mkinitcpio-", "3cpio-"))]
        self.checks.same("and were not one before", sorts, [])
        self.judge(before, after, models)
        self.read(before)

    def fix(self):
        """What is refused must be what a maker of the table is known for; today none is."""
        root, epoch = self.root.parents[2], ("--source-date-epoch", EPOCH)
        done = self.bed.reprofix("fix", root, *epoch)
        self.checks.same("fix exits 0", done.returncode, 0)
        for path, why in re.findall(
            r"^warning: (?:\S+/)?(\S+)\.[ab]/initramfs\.img: (.*)", done.stderr, re.M
        ):
            self.refused.setdefault(path, why)
        self.checks.same("fix leaves none alone", self.refused, {})
        again = self.bed.reprofix("fix", root, *epoch, "--check")
        self.checks.that("nothing is left to do", again.returncode == 0, again.stdout[-3000:])

    def read(self, before):
        """Readers do not know several archives behind each other: those with nothing behind them,
        and with microcode before them."""
        images = []
        for case, data in zip(self.cases, before):
            usual = case.follows == "nothing" and case.packer == "zstd"
            usual |= case.maker == "cpio" and case.follows in ("nothing", "microcode")
            if usual or (self.every and case.follows in ("nothing", "microcode")):
                old = self.work / f"{case.name}.img"
                old.write_bytes(data)
                images.append((case.name, old, self.place(case, "a")))
        with step(f"readers of {len(images)} small images"):
            self.misread = readers.hold(self.checks, readers.installed(), images)

    def model(self, data):
        image = self.work / "model.img"
        image.write_bytes(data)
        return judge.modelled(self.bed.tool, image)

    def judge(self, before, after, models):
        checks, end = self.checks, judge.archive([("end", 0o100644, b"")])
        with step("boot, before and after"):
            (old, said), (new, says) = self.boot(before, end), self.boot(after, end)
        checks.same("the kernel does not complain", (said, says), ([], []))
        checks.that("it unpacks to the last", "end" in old and "end" in new)
        for case, model in zip(self.cases, models):
            was, now = case.paths(old), case.paths(new)
            told = judge.mistold(case.paths(model), was)
            links = case.maker != "dracut"
            trees = [judge.clamped(tree, EPOCH, links) for tree in (was, now)]
            changed = judge.difference(*trees)
            found = [f"model: {line}" for line in told] + changed
            if not checks.that(
                f"judged: {case.name}, {len(was)} paths", was and not found, "\n".join(found)
            ):
                self.wrong.add(case.name)
