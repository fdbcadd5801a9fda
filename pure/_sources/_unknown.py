"""How many records a data set has that does not say, and is only iterated over.

A number stands for it until a pass has ended; nobody is told it. Who counts is not known here.
"""

# Many batch sizes divide it.
UNKNOWN = 2**10 * 3**4 * 5**2 * 7 * 11 * 13


def check_known(records: int, what: str) -> None:
    """Refuse to count the records of a data set that does not say. **Errors:** TypeError."""
    if records == UNKNOWN:
        raise TypeError(
            f"How many {what} there are is not known: the source is iterated over, and does not "
            "say how many records it has until it has ended once."
        )
