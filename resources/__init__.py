"""Shipped data: demo lyrics.

Installed as `khala_studio._resources`; read through `khala_studio.resources`.
"""
