"""BLEU against sacrebleu, ROUGE against rouge-score: on written texts and on whatever letters there are."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.evaluate.intervals import Evidence, interval
from headstart.evaluate.metrics import METRICS
from headstart.evaluate.text_overlap import longest_common, words_13a

sacrebleu = pytest.importorskip("sacrebleu")
rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

REFERENCES = [
    [
        "The Blue Spice is a coffee shop in the city centre.",
        "Blue Spice is a coffee shop in the city centre, near Ola.",
    ],
    ["It costs 1,234.50 pounds - or so; see 'The Mill' (2.5 stars).", "Costs: 1,234.5"],
    ["A child-friendly pub", "A pub for families with children, rated 5 out of 5.", "x"],
    ["Prices are &quot;high&quot; & rising -\n slowly.", "Nothing"],
]
WRITTEN = [
    "Blue Spice is a coffee shop near the city centre.",
    "It costs 1,234.50 pounds (2.5 stars) - or so.",
    "A child-friendly pub, rated 5 out of 5.",
    'Prices are "high" & rising slowly. ',
]


def ours(metric: str, references: list[list[str]], written: list[str]) -> float:
    statistics = METRICS[metric].statistics(references, written, [])
    return float(METRICS[metric].resample(statistics, np.ones((1, len(written))))[0])


def random_texts(seed: int, count: int) -> tuple[list[list[str]], list[str]]:
    random = np.random.default_rng(seed)
    alphabet = [*"ab,. -'5&<;é", "the ", "cat ", " sat", "\n", "3.14", "10,000", "A"]

    def text() -> str:
        return "".join(random.choice(alphabet, random.integers(0, 25)))

    return [[text() for _ in range(random.integers(1, 4))] for _ in range(count)], [text() for _ in range(count)]


def theirs_bleu(references: list[list[str]], written: list[str]) -> float:
    most = max(map(len, references))
    streams = [[one[place] if place < len(one) else None for one in references] for place in range(most)]
    return float(sacrebleu.corpus_bleu(written, streams).score) / 100


@pytest.mark.filterwarnings("ignore")
def test_bleu_is_sacrebleus() -> None:
    assert ours("bleu", REFERENCES, WRITTEN) == pytest.approx(theirs_bleu(REFERENCES, WRITTEN), abs=1e-9)
    for seed in range(30):
        references, written = random_texts(seed, 12)
        assert ours("bleu", references, written) == pytest.approx(theirs_bleu(references, written), abs=1e-9)
    for written in (["", ""], ["x", "y"], ["the cat sat", ""]):
        assert ours("bleu", [["the cat sat on"], ["a b"]], written) == pytest.approx(
            theirs_bleu([["the cat sat on"], ["a b"]], written), abs=1e-9
        )


def test_words_are_those_of_13a() -> None:
    tokenizer = sacrebleu.metrics.bleu.BLEU().tokenizer
    for text in (*WRITTEN, *(text for one in REFERENCES for text in one), *random_texts(99, 200)[1]):
        assert words_13a(text) == tokenizer(text.rstrip()).split()


@pytest.mark.parametrize(("metric", "name"), [("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rouge_l", "rougeL")])
def test_rouge_is_rouge_scores(metric: str, name: str) -> None:
    scorer = rouge_scorer.RougeScorer([name], use_stemmer=False)
    for references, written in ((REFERENCES, WRITTEN), random_texts(1, 100)):
        theirs = [scorer.score_multi(one, text)[name].fmeasure for one, text in zip(references, written, strict=True)]
        assert METRICS[metric].statistics(references, written, [])[:, 0] == pytest.approx(theirs, abs=1e-12)
        assert ours(metric, references, written) == pytest.approx(np.mean(theirs), abs=1e-12)


def test_the_longest_common_subsequence_is_that_of_the_table() -> None:
    random = np.random.default_rng(3)
    for _ in range(100):
        a, b = ([str(w) for w in random.integers(0, 4, random.integers(0, 70))] for _ in range(2))
        table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
        for i, word in enumerate(a):
            for j, other in enumerate(b):
                table[i + 1, j + 1] = table[i, j] + 1 if word == other else max(table[i, j + 1], table[i + 1, j])
        assert longest_common(a, b) == table[-1, -1]


def test_resampled_bleu_is_the_bleu_of_the_resample() -> None:
    references, written = random_texts(7, 20)
    picks = np.random.default_rng(0).integers(0, 20, 20)
    counts = np.bincount(picks, minlength=20)[None].astype(float)
    statistics = METRICS["bleu"].statistics(references, written, [])
    drawn = ours("bleu", [references[i] for i in picks], [written[i] for i in picks])
    assert METRICS["bleu"].resample(statistics, counts)[0] == pytest.approx(drawn)
    found = interval(Evidence("bleu", statistics[None]))
    assert 0.0 <= found.low <= ours("bleu", references, written) <= found.high <= 1.0
