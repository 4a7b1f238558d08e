"""Khala Studio: typed lyrics become a sung song, on your own machine."""

__version__ = "0.1.0"
