"""A fit in pieces is the fit in one: the same losses, bit for bit, the same weights, the same best validation pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.train.tiny_base import tiny_base, toy_task

from headstart.ground.errors import ConfigError
from headstart.train.fit import fit
from headstart.train.methods import FitSettings
from headstart.train.pieces import Piece

SETTINGS = FitSettings(epochs=4, batch_rows=16, lr=5e-3)


@pytest.mark.parametrize("method", ["full", "lora", "scratch"])
@pytest.mark.parametrize("shares", [(0.25, 1.0), (0.1, 0.37, 0.5, 1.0)])
def test_pieces_end_where_one_run_ends(method: str, shares: tuple[float, ...], tmp_path: Path) -> None:
    whole = fit(tiny_base(), toy_task(), method=method, seed=3, settings=SETTINGS)
    for share in shares:
        part = fit(tiny_base(), toy_task(), method=method, seed=3, settings=SETTINGS, piece=Piece(tmp_path, share))
        assert part.stopped == ("done" if share == 1.0 else "paused")
        assert part.epochs == pytest.approx(4 * share, abs=0.1)
    assert [r.loss for r in part.history] == [r.loss for r in whole.history]
    assert part.base.digest == whole.base.digest
    assert part.validation == whole.validation
    assert part.epochs == whole.epochs


def test_a_pause_answers_with_its_weights_and_counts_its_seconds(tmp_path: Path) -> None:
    first = fit(tiny_base(), toy_task(), method="full", settings=SETTINGS, piece=Piece(tmp_path, 0.5))
    again = fit(tiny_base(), toy_task(), method="full", settings=SETTINGS, piece=Piece(tmp_path, 0.5))
    assert again.base.digest == first.base.digest
    assert again.validation == first.validation
    assert len(again.history) == len(first.history)
    assert again.seconds > 0.5 * first.seconds


def test_what_is_kept_of_another_fit_is_refused(tmp_path: Path) -> None:
    fit(tiny_base(), toy_task(), method="full", settings=SETTINGS, piece=Piece(tmp_path, 0.3))
    with pytest.raises(ConfigError, match="another fit"):
        fit(tiny_base(), toy_task(), method="full", seed=1, settings=SETTINGS, piece=Piece(tmp_path, 1.0))


@pytest.mark.parametrize("until", [0.0, 1.1])
def test_a_piece_ends_inside_the_steps(until: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="share"):
        Piece(tmp_path, until)
