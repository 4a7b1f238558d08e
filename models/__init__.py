"""Shipped model packs, a folder each. Installed as `khala_studio._models`; found by `khala_studio.packs.store`."""
