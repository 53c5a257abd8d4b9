"""Configs that already lie in the user's own Hugging Face cache. Nothing is fetched and nothing is written.

The cache's layout is that of huggingface_hub ("Understand caching"): `models--org--name/refs/main` holds the hash of the snapshot folder
`models--org--name/snapshots/<hash>`, whose files are links into `blobs`. The cache is `HF_HUB_CACHE` (or the older
`HUGGINGFACE_HUB_CACHE`), else `hub` in `HF_HOME`, else `huggingface/hub` in `XDG_CACHE_HOME` or `~/.cache`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

#: `name` or `org/name`, of letters, digits and inner "-", "_", "." as the Hub allows; at most 96 characters each.
_HUB_ID = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{7,64}")
_CONFIG = "config.json"


def is_hub_id(name: str) -> bool:
    """Whether `name` could name a model on the Hub; names with "..", "--", backslashes or more than one slash cannot."""
    return bool(_HUB_ID.fullmatch(name)) and not any(part.endswith((".", "-", ".git")) for part in name.split("/"))


def cache_folder() -> Path | None:
    """The folder of the Hub's cache, whether it exists or not; None where the user has no home."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.path.expandvars(os.environ[variable])).expanduser()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        home = os.environ.get("HF_HOME")
        folder = Path(os.path.expandvars(home)) if home else Path(base) / "huggingface"
        return folder.expanduser() / "hub"
    except RuntimeError:
        return None


def find_cached_config(hub_id: str) -> Path | None:
    """The `config.json` of `hub_id` in the user's cache: of the main branch where it is known, else of the newest snapshot."""
    cache = cache_folder()
    if cache is None or not is_hub_id(hub_id):
        return None
    folder = cache / ("models--" + hub_id.replace("/", "--"))
    try:
        return next((path for path in _candidates(folder) if path.is_file()), None)
    except OSError:  # an unreadable cache is as good as none
        return None


def _candidates(folder: Path) -> list[Path]:
    """Configs that may be meant, the likeliest first."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return []
    others = sorted(snapshots.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    revision = _main_revision(folder / "refs" / "main")
    first = [snapshots / revision] if revision else []
    return [path / _CONFIG for path in (*first, *others)]


def _main_revision(reference: Path) -> str | None:
    """The hash that `refs/main` holds; anything else in that file is not followed."""
    if not reference.is_file():
        return None
    with reference.open("rb") as file:
        text = file.read(100).decode("ascii", "replace").strip()
    return text if _REVISION.fullmatch(text) else None
