"""Values of a song: request, lyrics, codes, take. numpy only."""
