"""The synthetic songs the starter is trained on, with exact times of words and phones."""
