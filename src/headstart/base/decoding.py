"""Decoder: units in, units out, many requests at a time, one unit of each a step.

Requests join and leave between steps (continuous batching, Yu et al. 2022, "Orca"), so none waits for the longest of
its batch. What a new request shares with one that is or was there is copied, not read again (`slots`). A request's
answer depends on its units, its `Sampling` and its `copy` alone: every request draws from a stream of its own, and a
row sees its own keys only. What a step that failed or was interrupted has not read is read by the next one.
R running rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from headstart.base.prefixes import common_units
from headstart.base.sampling import Constraint, Sampling, choose, constrained, log_probabilities
from headstart.base.slots import Slots
from headstart.data.batching import pad_rows
from headstart.data.text_codec import Ids
from headstart.ground.batch import Batch
from headstart.ground.errors import ConfigError, DataError, RunError
from headstart.ground.seeds import stream
from headstart.model.packed import CausalModel

Finish = Literal["stop", "length", "error"]

MAX_ROWS = 32  # requests that run at once, memory permitting
CACHE_BYTES = 1 << 30  # of keys and values; pages are taken when they are first written
WAIT_UNITS = 16  # a request waits for a neighbour's beginning to be read when it can copy so much more then
READ_UNITS = 2048  # slots (rows x longest) of prompts read at once


@dataclass(frozen=True, slots=True)
class Drawn:
    """One unit of one request.

    finish: "stop" where the unit is the end token, which is no part of the answer; "length" where the answer has
    max_tokens units or the base no more positions; "error" where its constraint broke or its logits are no numbers, as
    `failure` says: no unit was drawn (-1) and the others go on; None where it goes on. logprob, top: see
    `Sampling.logprobs`.
    """

    request: int
    unit: int
    finish: Finish | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    failure: str = ""


@dataclass(eq=False, slots=True)
class _Request:
    number: int
    ids: Ids
    sampling: Sampling
    random: np.random.Generator
    constraint: Constraint | None
    written: list[int] = field(default_factory=list)
    done: bool = False


class Decoder:
    """A model, its cache, and the requests that wait and run.

    end: the unit that ends an answer, None for none. max_positions: of prompt and answer together.
    """

    def __init__(
        self,
        model: CausalModel,
        *,
        end: int | None,
        pad: int,
        max_positions: int,
        max_rows: int,
        cache_bytes: int,
    ) -> None:
        if max_rows < 1 or cache_bytes < 1:
            raise ConfigError(f"max_rows is {max_rows} and cache_bytes {cache_bytes}; expected at least 1. Raise them.")
        self._model, self._end, self._pad = model, end, pad
        self._max_positions, self._max_rows = max_positions, max_rows
        self._device = model.device
        self._slots = Slots(
            model.config, max_rows=max_rows, cache_bytes=cache_bytes, dtype=model.dtype, device=self._device
        )
        self._waiting: dict[int, _Request] = {}  # by number, the oldest first
        self._running: list[_Request] = []  # row b stands in slot b
        self._drawn: list[Drawn] = []  # not told yet
        self._asked = 0
        self.units_read = 0  # of prompts; less than they have where beginnings are shared

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self._waiting or self._running)

    def add(self, ids: Ids, sampling: Sampling, *, copy: int = 0, constraint: Constraint | None = None) -> int:
        """Ask for a continuation; the request's number. copy: tells several answers to one prompt apart.

        constraint: of this request alone; it is told what is written.

        Raises:
            DataError: the prompt is empty or leaves no position for an answer.
            ConfigError: max_tokens is more than the base has positions for.
        """
        if not 0 < len(ids) < self._max_positions:
            raise DataError(
                f"the prompt has {len(ids):,} tokens; expected 1 to {self._max_positions - 1:,}, because this base "
                f"reads {self._max_positions:,} with its answer. Shorten it, or ask to truncate it."
            )
        if sampling.max_tokens > self._max_positions:
            raise ConfigError(
                f"max_tokens is {sampling.max_tokens:,}; expected at most {self._max_positions:,}, which is what the "
                "base has positions for. Give a smaller one."
            )
        units = np.ascontiguousarray(ids, dtype=np.int32)
        name = hashlib.sha256(units.tobytes()).hexdigest()
        number, self._asked = self._asked, self._asked + 1
        random = stream(sampling.seed, "generate", name, copy)
        self._waiting[number] = _Request(number, units, sampling, random, constraint)
        return number

    @torch.inference_mode()
    def cancel(self, request: int) -> None:
        """Forget a request, waiting or running; one that is done already is no error."""
        self._waiting.pop(request, None)
        for one in self._running:
            one.done = one.done or one.number == request
        self._leave_done()
        self._drawn = [drawn for drawn in self._drawn if drawn.request != request]

    @torch.inference_mode()
    def step(self) -> list[Drawn]:
        """One more unit of every running request, and the first of those that can join them."""
        self._leave_done()
        left = len(self._running) + self._max_rows
        if self._running:
            left -= self._draw(0)
        while left > 0 and (joining := self._joining()):
            first = len(self._running)
            for place, one in enumerate(joining):
                self._slots.start(first + place, one.ids)
            self._running += joining
            for one in joining:
                del self._waiting[one.number]
            left -= self._draw(first)
        told, self._drawn = self._drawn, []
        return told

    def _joining(self) -> list[_Request]:
        """Waiting requests that are read together now, in their order.

        One that shares much with another of them waits until that one is read; so does one whose length would pad the
        others.
        """
        chosen: list[_Request] = []
        rest: list[int] = []
        for one in islice(self._waiting.values(), self._max_rows):
            used = len(self._running) + len(chosen)
            if not self._slots.make_room(self._reach(one), used=used):
                break
            held = self._slots.shared(one.ids)[1]
            if any(common_units(one.ids, other.ids) >= held + WAIT_UNITS for other in chosen):
                continue
            sizes = [*rest, len(one.ids) - held]
            slots = len(sizes) * max(sizes)
            if chosen and (slots > READ_UNITS or slots > 2 * sum(sizes)):
                continue
            chosen.append(one)
            rest = sizes
        return chosen

    def _reach(self, one: _Request) -> int:
        return min(len(one.ids) + one.sampling.max_tokens, self._max_positions)

    def _unread(self, row: int) -> Ids:
        """What the slot of a running row does not hold of its text: the last unit at least, which the next follows."""
        one = self._running[row]
        self._slots.shorten(row, len(one.ids) + len(one.written) - 1)
        held = self._slots.held(row)
        written = np.asarray(one.written[max(0, held - len(one.ids)) :], dtype=np.int32)
        return written if held >= len(one.ids) else np.concatenate((one.ids[held:], written))

    def _draw(self, first: int) -> int:
        """Read what the rows from `first` on have not read and draw the unit that follows each; how many rows."""
        rows = self._running[first:]
        new = [self._unread(first + place) for place in range(len(rows))]
        self.units_read += sum(len(units) for units, one in zip(new, rows, strict=True) if not one.written)
        window = self._slots.window(first, new)
        lengths = torch.tensor([len(units) for units in new], device=self._device)
        units = pad_rows(new, filler=self._pad, width=window.positions.shape[1]).to(self._device)
        hidden = self._model.hidden(Batch(units, lengths, "causal", positions=window.positions), window)
        self._slots.add(first, new)
        last = hidden[:, 0] if units.shape[1] == 1 else hidden[torch.arange(len(new), device=self._device), lengths - 1]
        logits = self._model.logits(last).float()
        largest, best = logits.max(dim=-1)
        good = torch.isfinite(largest).tolist()
        for row in [row for row, fine in enumerate(good) if not fine]:
            self._slots.clear(first + row)
        for row, (one, unit) in enumerate(zip(rows, best.tolist(), strict=True)):
            drawn = self._next(one, logits[row], unit if good[row] else None)
            one.done = drawn.finish is not None
            self._drawn.append(drawn)
        self._leave_done()
        return len(rows)

    def _next(self, one: _Request, logits_V: Tensor, best: int | None) -> Drawn:
        """The unit of one row. Logits without a `best` and a constraint that breaks end their own request alone."""
        try:
            if best is None:
                raise RunError(
                    "the base answered with values that are not finite numbers; expected some. Check the base."
                )
            return self._chosen(one, logits_V, best)
        except RunError as problem:
            return Drawn(one.number, -1, "error", failure=str(problem))

    def _chosen(self, one: _Request, logits_V: Tensor, best: int) -> Drawn:
        sampling = one.sampling
        kept = logits_V if one.constraint is None else constrained(logits_V, one.constraint)
        if not sampling.plain:
            unit = choose(kept, sampling, one.random, one.ids, one.written)
        else:
            unit = best if one.constraint is None else int(kept.argmax())
        logprob: float | None = None
        top: tuple[tuple[int, float], ...] = ()
        if sampling.logprobs is not None:
            logprob, top = log_probabilities(logits_V, unit, sampling.logprobs)
        if unit == self._end:
            return Drawn(one.number, unit, "stop", logprob, top)
        if one.constraint is not None:
            one.constraint.accept(unit)
        one.written.append(unit)
        full = len(one.ids) + len(one.written) >= self._reach(one)
        return Drawn(one.number, unit, "length" if full else None, logprob, top)

    def _leave_done(self) -> None:
        """The last running row takes the place of one that is done."""
        for row in reversed(range(len(self._running))):
            if self._running[row].done:
                last = len(self._running) - 1
                if row != last:
                    self._slots.move(last, row)
                    self._running[row] = self._running[last]
                self._running.pop()
