"""`khala-studio train STEP`: the training steps, which need the `train` extra."""

from __future__ import annotations

from typing import Any


def add_parser(commands: Any) -> None:
    """Declare `train`; the steps' own options are declared when a step is asked for."""
    try:
        from khala_studio.training import cli
    except ModuleNotFoundError:  # the installer leaves training out
        return
    parser = commands.add_parser(
        "train",
        help="the training steps (need the train extra)",
        description="Make a model pack of your own, step by step. Needs the train extra.",
    )
    cli.add_parsers(parser)
