"""Model packs on disk: what they are, whether they are whole, where they lie."""
