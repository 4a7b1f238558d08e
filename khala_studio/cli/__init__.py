"""The program `khala-studio`: one module a command. Nothing heavy is imported before a command runs."""

from khala_studio.cli.program import main

__all__ = ["main"]
