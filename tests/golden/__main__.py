"""`python -m tests.golden [NAME …]` shows where pages differ from today; `--write` mends them."""

import difflib
import sys

from . import PAGES, today


def main(arguments: list[str]) -> int:
    """The number of pages that differ still."""
    names = [argument for argument in arguments if argument != "--write"]
    differ = 0
    for file in [file for file in PAGES if file.stem in names or not names]:
        old = file.read_text()
        new = today(old)
        if old == new:
            continue
        lines = difflib.unified_diff(
            old.split("\n"), new.split("\n"), file.name, "today", lineterm=""
        )
        print("\n".join(lines))
        if "--write" in arguments:
            file.write_text(new)
        else:
            differ += 1
    return differ


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
