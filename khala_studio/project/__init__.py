"""Takes on disk: folders of codes, sound and the request they came from. No Qt."""
