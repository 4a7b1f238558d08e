"""`khala-studio train STEP ...`: finds the module of a step and hands the arguments over.

Imports nothing heavy: `train --help` works without torch. A step's module has
`add_arguments(parser)` and `main(args) -> int`.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from typing import Any

STEPS = {
    "corpus": ("khala_studio.training.corpus.build", "sing and play the synthetic songs"),
    "tokenizer": ("khala_studio.training.tokenizer", "write the text front end's data"),
    "codec": ("khala_studio.training.train_codec", "train the codec on the songs"),
    "tokens": ("khala_studio.training.extract_tokens", "encode the songs with the codec"),
    "backbone": ("khala_studio.training.train_backbone", "train the model that composes layers 0 and 1"),
    "superres": ("khala_studio.training.train_superres", "train the model that fills in the layers above"),
    "export": ("khala_studio.training.export.export_pack", "checkpoints become a pack"),
    "evaluate": ("khala_studio.training.evaluate", "measure a pack: one table"),
}

_NEEDS_EXTRA = (
    "`train {step}` needs {module}, which is not installed. "
    "Run `make setup-train` in a checkout, or `pip install khala-studio[train]`."
)


def add_parsers(parser: argparse.ArgumentParser) -> None:
    """Make `parser` the parser of `train`: a step, and everything after it for the step itself."""
    width = max(map(len, STEPS))
    lines = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in STEPS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"steps, in order:\n{lines}\n\nOptions of a step: {parser.prog} STEP --help"
    parser.add_argument("step", metavar="STEP", choices=list(STEPS))
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="options of the step")
    parser.set_defaults(run=lambda args: run_step(parser, args.step, args.arguments))


def run_step(parent: argparse.ArgumentParser, step: str, arguments: list[str]) -> int:
    """Parse the step's own arguments and run it.

    Returns:
        The exit code: the step's, or 2 when a package that it needs is not installed.
    """
    name, what = STEPS[step]
    try:
        module: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(_NEEDS_EXTRA.format(step=step, module=error.name), file=sys.stderr)
        return 2
    parser = type(parent)(prog=f"{parent.prog} {step}", description=f"{what[:1].upper()}{what[1:]}.")
    module.add_arguments(parser)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    return int(module.main(parser.parse_args(arguments)) or 0)
