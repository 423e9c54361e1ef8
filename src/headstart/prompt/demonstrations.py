"""Demonstrations: which rows of the training part stand before a question, and in which order.

random: drawn from all rows. balanced: the answers in turn, so that K shots of K classes show each once. nearest: for
every row those that are most like it, from a balanced pool. All are seeded, and K shots are the first K of any larger
number, so that a curve over K changes nothing but K.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from headstart.base.prompt import Shot
from headstart.data.examples import as_text
from headstart.data.task import Task
from headstart.ground.errors import ConfigError
from headstart.ground.seeds import stream
from headstart.prompt.verbalisers import Verbaliser

Demonstrations = Literal["balanced", "random", "nearest"]
DEMONSTRATIONS: tuple[Demonstrations, ...] = get_args(Demonstrations)
POOL = 256  # rows that the nearest are taken from: they travel with the prompt and are read when it is asked


def draw_shots(task: Task, words: Verbaliser, *, how: Demonstrations, count: int, seed: int) -> tuple[Shot, ...]:
    """The demonstrations, or for nearest the pool they are taken from.

    Raises:
        ConfigError: more are asked than there are.
    """
    size = max(count, POOL) if how == "nearest" else count
    random = stream(seed, "shots", how)
    order = random_cells(task, random) if how == "random" else balanced_cells(task, words, random)
    if count > len(order):
        raise ConfigError(
            f"--shots is {count}; expected at most {len(order):,}, which is what the training rows give. Give fewer."
        )
    return tuple(shot_of(task, words, row, option) for row, option in order[:size])


Cell = tuple[int, int | None]  # a row, and for kind labels the label it is asked about


def random_cells(task: Task, random: np.random.Generator) -> list[Cell]:
    """Every row, each asked about one label drawn at random where labels are asked about one by one."""
    rows = random.permutation(len(task.train)).tolist()
    if task.kind != "labels":
        return [(row, None) for row in rows]
    return [(row, int(random.integers(len(task.labels)))) for row in rows]


def balanced_cells(task: Task, words: Verbaliser, random: np.random.Generator) -> list[Cell]:
    """Cells with their answers in turn, the order of the answers drawn anew every round."""
    by_answer: dict[int, list[Cell]] = {place: [] for place in range(len(words.words))}
    for row, option in random_cells(task, random) if task.kind != "labels" else balanced_options(task, random):
        by_answer[answer_of(task, words, row, option)].append((row, option))
    waiting = [cells for cells in by_answer.values() if cells]
    found: list[Cell] = []
    depth = 0
    while any(depth < len(cells) for cells in waiting):
        for place in random.permutation(len(waiting)).tolist():
            if depth < len(waiting[place]):
                found.append(waiting[place][depth])
        depth += 1
    return found


def balanced_options(task: Task, random: np.random.Generator) -> list[Cell]:
    """Rows asked about a label they have and about one they do not have, in turn; every row comes again at the end."""
    order = random.permutation(len(task.train)).tolist()
    found: list[Cell] = []
    for again in (0, 1):
        for place, row in enumerate(order):
            target = task.train.targets[row]
            mine = set(target if isinstance(target, tuple) else ())
            members = sorted(mine) if (place + again) % 2 else sorted(set(range(len(task.labels))) - mine)
            if members:
                found.append((row, int(random.choice(members))))
    return found


def answer_of(task: Task, words: Verbaliser, row: int, option: int | None) -> int:
    """The place of a cell's answer among the words."""
    target = task.train.targets[row]
    if option is not None:
        return int(option in target) if isinstance(target, tuple) else 0
    if task.kind == "score":
        levels = np.asarray(words.levels)
        return int(np.abs(levels - float(target)).argmin())  # type: ignore[arg-type]
    return int(target)  # type: ignore[arg-type]


def shot_of(task: Task, words: Verbaliser, row: int, option: int | None) -> Shot:
    """A cell as a demonstration."""
    pair = None if task.train.pairs is None else task.train.pairs[row]
    asked = None if option is None else words.options[option]
    return Shot(as_text(task.train.texts[row]), words.words[answer_of(task, words, row, option)], pair, asked)
