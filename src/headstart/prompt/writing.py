"""From units to text as it is written: what is certain is given out, what may still change is held back.

Two things hold text back: a character whose bytes are not all there yet (byte-level vocabularies split characters), and
an end that may be the beginning of a stop string, which may reach over any number of units.
"""

from __future__ import annotations

from collections.abc import Sequence

from headstart.base.generating import BROKEN
from headstart.data.text_codec import TextCodec
from headstart.ground.errors import ConfigError, safe_repr

MAX_STOPS, MAX_STOP_CHARACTERS = 16, 256
MAX_HELD_UNITS = 8  # a character has 4 bytes at most; longer, and the bytes are really broken


class Spelling:
    """The text of one answer, unit by unit. after: units before it, which end a prompt (see `end_units`).

    Each unit is decoded beside the ones before it, because what a unit spells depends on its neighbours: only the units
    since the last certain place, so a long answer costs as much a unit as a short one.
    """

    def __init__(self, codec: TextCodec, after: Sequence[int] = ()) -> None:
        self._codec = codec
        self._units = list(after)
        self._shown = len(after)  # units whose text has been given out; they only give the context

    def add(self, unit: int) -> str:
        """What is certain now and was not before."""
        self._units.append(unit)
        return self._give(last=False)

    def end(self) -> str:
        """The rest."""
        return self._give(last=True)

    def _give(self, *, last: bool) -> str:
        before = self._codec.decode(self._units[: self._shown])
        text = self._codec.decode(self._units)
        if text.endswith(BROKEN) and not last and len(self._units) - self._shown < MAX_HELD_UNITS:
            return ""
        # A special unit spells nothing and gives the next one no context.
        self._units = self._units[: self._shown] if self._shown and text == before else self._units[self._shown :]
        self._shown = len(self._units)
        return text[len(before) :]


class Stops:
    """Text with an end before the stop string that is completed first, character by character.

    Of several that the same character completes it is the longest, so where units begin and end changes nothing.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        check_stops(stops)
        self._stops = tuple(stops)
        self._held = ""
        self.met = False

    def add(self, text: str) -> str:
        """What is certain now: everything before a stop string, or before what may become one."""
        if self.met:
            return ""
        self._held += text
        ends = [(place + len(stop), place) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if ends:
            self.met = True
            given, self._held = self._held[: min(ends)[1]], ""
            return given
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        given, self._held = self._held[:cut], self._held[cut:]
        return given

    def end(self) -> str:
        """The rest: nothing follows, so nothing becomes a stop string."""
        given, self._held = self._held, ""
        return given


def check_stops(stops: Sequence[str]) -> None:
    """ConfigError for stop strings that would stop nothing, or everything, or take long to look for."""
    if isinstance(stops, str):
        raise ConfigError(f"stop is the text {safe_repr(stops, 40)!r}; expected a list of texts. Put it into a list.")
    if len(stops) > MAX_STOPS:
        raise ConfigError(f"there are {len(stops):,} stop strings; expected at most {MAX_STOPS}. Leave some out.")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP_CHARACTERS:
            raise ConfigError(
                f"a stop string is {safe_repr(repr(stop), 40)}; expected a text of 1 to {MAX_STOP_CHARACTERS} "
                "characters. Change it."
            )


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that a stop string begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
