"""Text front ends: a request becomes the ids that a pack's models read."""
