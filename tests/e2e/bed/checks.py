"""Assertions that go on after a failure, are counted, and decide the exit code."""

# Lines of detail about one failure.
SHOWN = 20


class Checks:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def that(self, what, holds, detail=""):
        """`what` is a sentence that should be true."""
        if holds:
            self.passed += 1
            print(f"ok      {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED  {what}\n        {detail}", flush=True)
        return holds

    def same(self, what, left, right):
        """Of two lists only what is in one of them is shown, and not all of much."""
        if isinstance(left, list) and isinstance(right, list):
            only = [f"< {item}" for item in left if item not in right]
            only += [f"> {item}" for item in right if item not in left]
            return self.that(what, left == right, "\n        ".join(only[:SHOWN]))
        return self.that(what, left == right, f"{left!r}\n        {right!r}")

    def close(self):
        """The closing line; gives the exit code."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0
