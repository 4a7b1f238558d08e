"""The parser, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, Protocol, cast

from khala_studio import __version__
from khala_studio.cli.failures import CANCELLED, DONE, WRONG_REQUEST, explain


class Command(Protocol):
    """A module of this package."""

    def add_parser(self, commands: Any) -> None: ...


COMMANDS: Final = ("generate", "refine", "decode", "encode", "packs", "bench", "doctor", "train")

_NO_WINDOW: Final = (
    "The window is not built yet; everything works from the command line. "
    "Try: khala-studio generate LYRICS.txt -o out/song\n"
)


class Parser(argparse.ArgumentParser):
    """An argparse parser whose complaints are one sentence."""

    def error(self, message: str) -> NoReturn:
        sentence = message[:1].upper() + message[1:]
        self.exit(WRONG_REQUEST, f"{self.prog}: {sentence}. See {self.prog} --help.\n")


def build_parser() -> Parser:
    """The whole command line; imports the modules of the commands, which import nothing heavy."""
    parser = Parser(
        prog="khala-studio",
        description="Typed lyrics become a sung song, on your own machine.",
        epilog="Exit codes: 0 done, 1 the engine failed, 2 the request was wrong, 130 cancelled.",
    )
    parser.add_argument("--version", action="version", version=f"khala-studio {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an unexpected error happened")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name in COMMANDS:
        module = cast(Command, importlib.import_module(f"khala_studio.cli.{name}"))
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 1 the engine failed, 2 the request was wrong, 130 cancelled.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # --debug may stand anywhere, which sub-parsers would each have to declare.
    debug = "--debug" in arguments and "--" not in arguments[: arguments.index("--debug")]
    if debug:
        arguments.remove("--debug")
    parser = build_parser()
    try:
        args = parser.parse_args(arguments)
        return _run(parser, args)
    except SystemExit as stop:  # argparse, after --help, --version or a complaint
        return stop.code if isinstance(stop.code, int) else WRONG_REQUEST
    except BrokenPipeError:
        _silence_stdout()
        return CANCELLED
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            import traceback

            traceback.print_exc()
        code, sentence = explain(error)
        say(sentence)
        return code


def _run(parser: Parser, args: argparse.Namespace) -> int:
    if not hasattr(args, "run"):
        say(_NO_WINDOW)
        parser.print_help()
        return DONE
    code = int(args.run(args))
    sys.stdout.flush()  # here, where a closed pipe is still caught
    return code


def say(text: str) -> None:
    """Print for the user; a terminal that is gone is no reason to fail."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _silence_stdout() -> None:
    """Nobody reads us any more; without this Python complains while it shuts down."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
