"""What a lowered program does to an operand, read from its text."""

import re


def reads(text: str, operand: str) -> list[str]:
    """The shapes that are gathered or sliced from arrays of a shape, such as "1234x2"."""
    pattern = rf'(?:gather"?|dynamic_slice)[( ].*\(tensor<{operand}xf32>.*-> tensor<(.*)xf32>'
    return re.findall(pattern, text)
