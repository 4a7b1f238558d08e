"""The synthetic songs the starter is trained on: lyrics, melody, voice, band, mix, with exact word and phone times."""
