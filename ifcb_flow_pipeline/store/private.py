"""What is written is its owner's: notes and decisions name people, and logs tell what is where."""

from pathlib import Path

#: Access to folders and files: for their owner only.
FOLDER_MODE, FILE_MODE = 0o700, 0o600


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner only. One that is there stays as it is."""
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileNotFoundError:
        private_folder(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
