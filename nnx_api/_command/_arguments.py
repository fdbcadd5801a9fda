"""What a user asks for on the command line, and the help that says what can be asked.

Neither modules nor pipelines are known here.
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from importlib.metadata import version

from dagrax.pure import internal

_HELP = """\
Look at a pipeline, or try it, from the command line. TARGET is where it is
made: package.module:name or path/to/file.py:name, a Pipeline or a function of
no arguments that makes one. The current folder is looked into first."""
_END = """\
TARGET and options of a command: dagrax COMMAND --help.
exit codes: 0 all is well, 1 the pipeline has a fault, 2 wrong usage"""
_CHECKS = ("order", "source", "epoch", "invariance", "resume", "gradients")


@dataclasses.dataclass(frozen=True)
class Asked:
    """A command, its target, and its options; those that belong to other commands are unset."""

    command: str
    target: str
    json: bool
    traceback: bool
    path: str | None = None
    cost: bool = False
    measure: bool = False
    direction: str | None = None
    count: int = 8
    nodes: tuple[str, ...] | None = None
    only: tuple[str, ...] = _CHECKS
    mixes: tuple[str, ...] | None = None
    aside: tuple[str, ...] = ()
    batches: int = 100
    rounds: int = 5


def parsed(arguments: Sequence[str]) -> Asked:
    """The arguments as they are meant. Exits with 2, and a line of usage, where they cannot be."""
    given = vars(_parser().parse_args(arguments))
    return Asked(**given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dagrax",
        usage="dagrax [-h] [--version] COMMAND TARGET [options]",
        description=_HELP,
        epilog=_END,
        formatter_class=_Shape,
    )
    parser.add_argument("--version", action="version", version=f"dagrax {version('dagrax')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    commands.required = True

    describe = _command(commands, "describe", "print its nodes, shapes, sizes and totals")
    describe.add_argument("--cost", action="store_true", help="with FLOPs and bytes, as XLA says")
    describe.add_argument("--measure", action="store_true", help="with the time of each node")

    draw = _command(commands, "draw", "draw its graph: .svg, .png, .dot, .mmd, or Mermaid text")
    draw.add_argument(
        "path", nargs="?", type=_drawing, metavar="PATH", help="a file; none prints Mermaid"
    )
    draw.add_argument("--direction", choices=("right", "down"))
    draw.add_argument("--cost", action="store_true", help="shaded by cost")

    show = _command(commands, "show", "draw a sheet of its records, node by node")
    show.add_argument("path", type=_sheet, metavar="PATH", help="a file: .png, .svg or .pdf")
    show.add_argument("-n", dest="count", type=_natural, default=8, metavar="N", help="records (8)")
    show.add_argument("--nodes", type=_names, metavar="A,B", help="of these alone")

    check = _command(commands, "check", "check its shapes, order, source, draws and gradients")
    of_these = f"some of {','.join(_CHECKS)}"
    check.add_argument("--only", type=_checks, default=_CHECKS, metavar="A,B", help=of_these)
    check.add_argument("--mixes", type=_names, metavar="A,B", help="nodes that may mix records")
    aside = "nodes whose gradient is meant to be another"
    check.add_argument("--aside", type=_names, default=(), metavar="A,B", help=aside)

    bench = _command(commands, "bench", "measure step, for and scan: medians of some rounds")
    bench.add_argument("--batches", type=_natural, default=100, metavar="N", help="a round (100)")
    bench.add_argument("--rounds", type=_natural, default=5, metavar="N", help="rounds (5)")
    return parser


class _Shape(argparse.RawDescriptionHelpFormatter):
    """As wide as a screen, with the help beside what it is about."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=16, width=79)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, help: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        prog=f"dagrax {name}",
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        formatter_class=_Shape,
    )
    parser.add_argument("target", metavar="TARGET", help="package.module:name, or file.py:name")
    parser.add_argument("--json", action="store_true", help="as JSON, for a program to read")
    parser.add_argument("--traceback", action="store_true", help="where in your code it failed")
    return parser


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def _drawing(text: str) -> str:
    return _checked(text, lambda: internal.check_drawing(text, "right"))


def _sheet(text: str) -> str:
    return _checked(text, lambda: internal.check_sheet(1, text))


def _checked(text: str, check: Callable[[], None]) -> str:
    try:
        check()
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _checks(text: str) -> tuple[str, ...]:
    for name in _names(text):
        if name not in _CHECKS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(_CHECKS)}")
    return _names(text)
