"""A Task's rows as Batches with targets, and the loss of every task kind.

Targets by kind: choice (B,) long, labels (B, K) float 0/1, score (B,) float standardised, tags (B, T) long with -100
everywhere but on the first sub-token of a word. Losses are sums with their weight, so accumulation is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from headstart.data.batching import collate
from headstart.data.examples import Examples, Kind
from headstart.data.patch_rows import PatchRows, encode_patches
from headstart.data.patches import PatchCodec
from headstart.data.text_codec import Encoded, TextCodec
from headstart.ground.batch import Batch, Pattern
from headstart.model.patches import PatchConfig
from headstart.train.cross_entropy import IGNORE
from headstart.train.objective import LossRecord

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Supervised:
    """Encoded rows of one part of a task with their targets, ready to be cut into batches.

    second: the other members of pairs that are read apart; such rows are only read for features, never batched.
    """

    kind: Kind
    encoded: Encoded | PatchRows
    targets: tuple[object, ...]
    num_outputs: int
    pattern: Pattern
    pad: int
    mean: float = 0.0
    scale: float = 1.0
    class_weights: npt.NDArray[np.float32] | None = None
    second: Encoded | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def truncated(self) -> int:
        """Texts, clips or series longer than what is read of them."""
        return self.encoded.truncated + (0 if self.second is None else self.second.truncated)

    def subset(self, rows: Rows) -> Supervised:
        """The given rows, in that order."""
        return replace(
            self,
            encoded=self.encoded.subset(rows),
            second=None if self.second is None else self.second.subset(rows),
            targets=tuple(self.targets[int(row)] for row in rows),
        )

    def batch(self, rows: Rows, *, epoch: int | None = None) -> Batch:
        """The given rows, padded to the longest, with targets (and weights, where classes are weighted).

        epoch: of training, in which patches are augmented.
        """
        plain = collate(self.encoded, rows, pattern=self.pattern, pad=self.pad, epoch=epoch)
        targets = self.target_tensor(rows, plain.units.shape[1])
        weights = None
        if self.class_weights is not None:
            weights = torch.from_numpy(self.class_weights)[targets]
        return replace(plain, targets=targets, weights=weights)

    def target_tensor(self, rows: Rows, width: int) -> Tensor:
        """Targets of the given rows in the shape of the kind."""
        chosen = [self.targets[int(i)] for i in rows]
        if self.kind == "choice":
            return torch.tensor(chosen, dtype=torch.long)
        if self.kind == "score":
            return (torch.tensor(chosen, dtype=torch.float32) - self.mean) / self.scale
        if self.kind == "labels":
            table = torch.zeros(len(chosen), self.num_outputs)
            for i, labels in enumerate(chosen):
                table[i, list(labels)] = 1.0  # type: ignore[call-overload]
            return table
        return self._tag_table(rows, chosen, width)

    def _tag_table(self, rows: Rows, chosen: list[object], width: int) -> Tensor:
        assert isinstance(self.encoded, Encoded)
        assert self.encoded.words is not None
        table = torch.full((len(rows), width), IGNORE, dtype=torch.long)
        for i, (row, tags) in enumerate(zip(rows, chosen, strict=True)):
            places = self.encoded.words[int(row)]
            kept = places >= 0
            table[i, torch.from_numpy(places[kept].astype(np.int64))] = torch.tensor(tags)[torch.from_numpy(kept)]
        return table


def supervise(
    examples: Examples,
    codec: TextCodec,
    *,
    kind: Kind,
    num_outputs: int,
    pattern: Pattern,
    max_length: int,
    apart: bool = False,
) -> Supervised:
    """Tokenise one part of a task, pairs together or `apart`. Scores keep their own scale until `standardised`."""
    second = None
    if apart:
        assert examples.pairs is not None, "only pairs can be read apart"
        second = codec.encode(examples.pairs, max_length=max_length)
    encoded = codec.encode(examples.written, None if apart else examples.pairs, max_length=max_length)
    return Supervised(kind, encoded, examples.targets, num_outputs, pattern, codec.special.pad, second=second)


def supervise_patches(
    examples: Examples, codec: PatchCodec, patches: PatchConfig, *, kind: Kind, num_outputs: int, pattern: Pattern
) -> Supervised:
    """Bring one part of a task over pictures, clips or series to the codec's size."""
    encoded = encode_patches(codec, examples.raws, front=patches.prefix, table=patches.grid)
    encoded = replace(encoded, truncated=sum(map(codec.exceeds, examples.raws)))
    return Supervised(kind, encoded, examples.targets, num_outputs, pattern, pad=0)


def standardised(train: Supervised) -> tuple[float, float]:
    """Mean and standard deviation of the training scores; (0, 1) for every other kind."""
    if train.kind != "score":
        return 0.0, 1.0
    values = np.asarray(train.targets, dtype=np.float64)
    return float(values.mean()), float(values.std()) or 1.0


def prior(train: Supervised) -> npt.NDArray[np.float32]:
    """(K,) biases with which a head that knows nothing gives every label its share among the training answers.

    Log-odds for labels (Lin et al. 2017, section 4.1: rare positives otherwise cost the first epochs), log shares for
    choice and tags, 0 for a standardised score.
    """
    if train.kind == "score":
        return np.zeros(1, dtype=np.float32)
    if train.kind == "choice":
        answers = np.asarray(train.targets, dtype=np.int64)
    else:
        answers = np.concatenate([np.asarray(row, dtype=np.int64) for row in train.targets])
    counts = np.bincount(answers, minlength=train.num_outputs) + 0.5
    if train.kind == "labels":
        return np.asarray(np.log(counts / np.maximum(len(train) - counts, 0.5)), dtype=np.float32)
    return np.asarray(np.log(counts / counts.sum()), dtype=np.float32)


def balanced_weights(train: Supervised) -> npt.NDArray[np.float32]:
    """Weight of every class, inverse to its count, with mean 1 over the rows."""
    counts = np.bincount(np.asarray(train.targets, dtype=np.int64), minlength=train.num_outputs)
    return (len(train) / (max(int((counts > 0).sum()), 1) * np.maximum(counts, 1))).astype(np.float32)


def task_loss(outputs: Tensor, targets: Tensor, kind: Kind, weights: Tensor | None = None) -> LossRecord:
    """Summed loss of head outputs ((B, K), (B, 1), (B, T, K) or (words, K)) with its weight, computed in fp32.

    weights (B,): of the rows' classes, for kind choice.
    """
    outputs = outputs.float()
    if kind == "score":
        return LossRecord(F.mse_loss(outputs[:, 0], targets, reduction="sum"), float(len(targets)))
    if kind == "labels":
        return LossRecord(
            F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum") / targets.shape[1],
            float(len(targets)),
        )
    if kind == "tags":
        total = F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), ignore_index=IGNORE, reduction="sum")
        return LossRecord(total, float((targets != IGNORE).sum()))
    losses = F.cross_entropy(outputs, targets, reduction="none")
    if weights is None:
        return LossRecord(losses.sum(), float(len(losses)))
    return LossRecord((losses * weights).sum(), float(weights.sum()))


def answers_of(outputs: Tensor, targets: Tensor, data: Supervised) -> list[Any]:
    """What a batch's outputs say, in the task's own terms: a label's index, a tuple of them, a number, a tag a word."""
    if data.kind == "choice":
        return outputs.argmax(-1).tolist()
    if data.kind == "score":
        return (outputs.flatten() * data.scale + data.mean).tolist()
    if data.kind == "labels":
        return [tuple(row.nonzero().flatten().tolist()) for row in outputs > 0]
    return [tuple(row[asked].tolist()) for row, asked in zip(outputs.argmax(-1), targets != IGNORE, strict=True)]


def agreement(kind: Kind, targets: Sequence[Any], answers: Sequence[Any]) -> float:
    """Share of right answers (choice; tags by word), micro-F1 (labels), minus the mean squared error (score)."""
    if kind == "score":
        return -float(np.mean((np.asarray(targets) - np.asarray(answers)) ** 2))
    if kind == "choice":
        return float(np.mean(np.asarray(targets) == np.asarray(answers)))
    if kind == "labels":
        right = sum(len(set(wanted) & set(said)) for wanted, said in zip(targets, answers, strict=True))
        return 2.0 * right / max(1, sum(map(len, targets)) + sum(map(len, answers)))
    pairs = [pair for wanted, said in zip(targets, answers, strict=True) for pair in zip(wanted, said, strict=True)]
    return float(np.mean([wanted == said for wanted, said in pairs])) if pairs else 0.0
