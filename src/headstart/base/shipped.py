"""Which bases lie inside the package. Imports nothing heavy, so that they can be listed at once."""

from __future__ import annotations

from pathlib import Path

DEFAULT = "text-small"
DEFAULTS = {None: DEFAULT, "image": "image-tiny", "audio": "audio-tiny", "series": "series-tiny"}  # by what is read
EMBEDDED = Path(__file__).parent / "embedded"


def embedded_names() -> list[str]:
    """Names of the bases inside the package."""
    return sorted(p.name for p in EMBEDDED.iterdir() if (p / "config.json").is_file()) if EMBEDDED.is_dir() else []
