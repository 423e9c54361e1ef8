"""A file of JSON lines that grows while something long goes on: a kill loses no line, and a full disk ends nothing.

Every line is written at once. What the disk refuses waits in memory for the next line; what a killed writer tore is
ended, so that it is no part of a new line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headstart.ground.files import disk_error, disk_errors

NEWLINE = b"\n"


class Journal:
    """Opens `path` to append to it. tell: gets one line when the disk first refuses, and one of lines that it still
    refuses when the block ends, which are lost: what was written about is worth more.

    Raises:
        RunError: the file cannot be opened.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._path, self._tell, self._refused = path, tell, False
        self._waiting = b""
        with disk_errors(path):
            self._file = path.open("a+b", buffering=0)
            if self._file.tell():
                self._file.seek(-1, os.SEEK_END)
                self._waiting = b"" if self._file.read(1) == NEWLINE else NEWLINE

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._write()
        except OSError as problem:
            self._tell(f"{disk_error(self._path, problem)} {self._waiting.count(NEWLINE):,} lines are lost")
        finally:
            self._file.close()

    def add(self, record: dict[str, Any]) -> None:
        """Append one line."""
        self._waiting += json.dumps(record).encode() + NEWLINE
        try:
            self._write()
        except OSError as problem:
            if not self._refused:
                self._tell(f"{disk_error(self._path, problem)} The lines wait in memory")
            self._refused = True

    def _write(self) -> None:
        while self._waiting:
            self._waiting = self._waiting[self._file.write(self._waiting) :]
