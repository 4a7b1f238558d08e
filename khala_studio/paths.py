"""Where the user's files lie: packs, logs. Asked for, not created."""

from pathlib import Path

import platformdirs

_APP = "khala-studio"


def data_folder() -> Path:
    """The user's data folder of this application."""
    return platformdirs.user_data_path(_APP, appauthor=False)


def packs_folder() -> Path:
    """Installed model packs, a folder each."""
    return data_folder() / "packs"


def cache_folder() -> Path:
    """What can be made anew at any time."""
    return platformdirs.user_cache_path(_APP, appauthor=False)


def logs_folder() -> Path:
    return platformdirs.user_log_path(_APP, appauthor=False)
