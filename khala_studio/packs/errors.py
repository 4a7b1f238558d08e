"""What can be wrong with a pack. The text of each error is one sentence for the user."""


class PackError(Exception):
    """A pack cannot be used, installed or removed."""


class PackMissing(PackError):
    """No pack of that name, or no pack in that folder."""


class PackBroken(PackError):
    """A pack is there, and something in it is not what its pack.json promises."""
