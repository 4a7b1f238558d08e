"""Shipped model packs, a folder each.

Installed as `khala_studio._models`; found through `khala_studio.packs.store`.
"""
