"""Letters that no font has which Graphviz finds, by the program that lists them for it.

Where there is no such program, as on Windows, nothing is known of the fonts.
"""

import subprocess

_LIST = ("fc-list", "--format", "%{charset}\n")  # of each font: 20-7e a0-36f 374


def absent(text: str) -> set[str]:
    """The letters of a text that no installed font has, as far as it is known."""
    letters = {x for x in text if not x.isascii()}
    if not letters:
        return letters
    try:
        listed = subprocess.run(_LIST, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    for part in set(listed.split()):
        first, _, last = part.partition("-")
        letters -= {x for x in letters if int(first, 16) <= ord(x) <= int(last or first, 16)}
    return letters if listed.split() else set()
