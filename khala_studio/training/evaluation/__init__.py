"""What `khala-studio train evaluate` measures: codec, models and songs of a pack, in one table."""
