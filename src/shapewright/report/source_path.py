"""Where a linted file lies in its repository, as code hosts want it: relative to the root, with forward slashes.

Errors: none; a file outside the repository keeps its absolute path.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote


def repository_root() -> Path:
    """The folder that holds `.git`, from the current one upwards; the current one where none does."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)


def source_path(file: str, root: Path) -> str:
    """`file`, named from the current folder, as a path from `root`."""
    absolute = Path(os.path.abspath(file))  # noqa: PTH100 (links stay as they are: the repository names them so)
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else absolute.as_posix()


def source_uri(file: str, root: Path) -> str:
    """The same as a URI: relative within `root`, else absolute (file://)."""
    path = source_path(file, root)
    return Path(path).as_uri() if Path(path).is_absolute() else quote(path)
