"""Base: a pre-trained model as a value. Load it, save it, ask it; verbs return a new one and never change it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.base.answers import Probabilities, labels_of, probabilities, word_probabilities
from headstart.base.contract import TaskContract
from headstart.base.decoding import CACHE_BYTES, MAX_ROWS, Decoder
from headstart.base.families import FAMILIES
from headstart.base.filling import fill_words, word_units
from headstart.base.folder import SCHEMA_VERSION, Contents, Manifest, find_folder, read_folder, write_folder
from headstart.base.forward import Reader
from headstart.base.generating import continue_texts
from headstart.base.lineage import Fingerprint, Record, fingerprint, identity, weights_digest
from headstart.base.packs import Packs
from headstart.base.patch_inputs import encode_inputs
from headstart.base.prompted import Asker, Scores, check_words_asked, outputs_of
from headstart.base.pseudo import score_hidden
from headstart.base.references import check_asked, find_reference, place_of, read_prompted, write_prompted
from headstart.base.rows import read_rows, read_word_rows
from headstart.base.sampling import Sampling
from headstart.base.scoring import Likelihoods, score_continuations
from headstart.base.weights import Weights
from headstart.data.patch_rows import PatchRows
from headstart.data.patches import Modality, PatchCodec
from headstart.data.text_codec import Encoded, TextCodec
from headstart.ground.batch import Pattern
from headstart.ground.errors import BaseError, CapabilityError, ConfigError, did_you_mean
from headstart.model.heads import LMHead, Pooler, Pooling, TaskHead
from headstart.model.matrices import Precision
from headstart.model.trunk import Trunk

PATTERNS = get_args(Pattern)
Measure = Literal["text", "token", "byte"]
MEASURES = get_args(Measure)
BATCH_TOKENS = 2048  # slots (rows x longest) per forward pass when reading; fits the caches of two CPU cores


@dataclass(frozen=True, eq=False, repr=False)
class Base:
    """Trunk + heads + codec + lineage. An adapted base has a contract, with a head or a prompt, and is a Base again.

    pattern: how `encode` and `predict` let positions see each other ("full" for encoders and for our hybrid base,
    "causal" for decoders). extras: tensors of heads that are kept for a faithful way back, by their disk name.
    place: where the weights were read from, a name or a path; "" for a base that was made here.
    sketches: the files that tell what was read, one a pre-training (headstart.data.sketch); none where nobody made one.
    packs: its weights as decoding wants them, made when they are first asked for.
    """

    trunk: Trunk
    codec: TextCodec | PatchCodec
    family: str
    pattern: Pattern
    name: str
    lm: LMHead | None = None
    pooler: Pooler | None = None
    head: TaskHead | None = None
    contract: TaskContract | None = None
    lineage: tuple[Record, ...] = ()
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    place: str = ""
    sketches: tuple[Path, ...] = ()
    packs: Packs = field(default_factory=Packs)

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise BaseError(
                f"the family is {self.family!r}; expected one of {', '.join(FAMILIES)}."
                f"{did_you_mean(self.family, FAMILIES)}"
            )
        answers = self.contract is not None and self.contract.prompt is None
        if (self.head is not None) != answers:
            raise BaseError("the base has a head or a contract alone; expected both or none. Give both.")

    @classmethod
    def load(cls, name_or_dir: str | Path | None = None, *, allow_pickle: bool = False) -> Base:
        """The base in a folder, a .gguf file, or the embedded one of that name (None: the default one).

        Raises:
            BaseError: it is not on this machine, or something in it is wrong; nothing is downloaded, nothing is run.
        """
        if name_or_dir is not None and str(name_or_dir).endswith(".gguf"):
            from headstart.base.gguf import read_gguf  # the gguf package is an extra

            contents = read_gguf(Path(name_or_dir))
        else:
            folder, root = find_folder(name_or_dir)
            prompted = read_prompted(folder)
            if prompted is not None:
                asked = cls.load(find_reference(folder, prompted), allow_pickle=allow_pickle).bare
                check_asked(folder, prompted, asked.digest, asked.fingerprint)
                return replace(asked, name=prompted.name, contract=prompted.contract, lineage=prompted.lineage)
            contents = read_folder(folder, root=root, allow_pickle=allow_pickle)
        weights = contents.weights
        return cls(
            trunk=weights.trunk,
            codec=contents.codec,
            family=weights.family.name,
            pattern=contents.pattern,
            name=contents.name,
            lm=weights.lm,
            pooler=weights.pooler,
            head=contents.head,
            contract=contents.contract,
            lineage=contents.lineage,
            extras=weights.extras,
            place=place_of(name_or_dir),
            sketches=contents.sketches,
        )

    def save(self, target: str | Path) -> Path:
        """Write a Hugging Face folder that transformers and `Base.load` read; it appears whole or not at all.

        A prompted base copies no weights: its folder holds the prompt and refers to the base.

        Raises:
            ConfigError: `target` already holds something, or a prompt's base lies in no folder.
            RunError: there is no space, or the disk refuses.
        """
        path = Path(target)
        if self.contract is not None and self.contract.prompt is not None:
            manifest = Manifest(SCHEMA_VERSION, self.name, self.family, self.pattern, self.contract, None, self.lineage)
            write_prompted(path, manifest, trunk=self.trunk)
            return path
        weights = Weights(FAMILIES[self.family], self.trunk, self.lm, self.pooler, self.extras)
        contents = Contents(
            weights, self.codec, self.pattern, self.name, self.lineage, self.contract, self.head, self.sketches
        )
        write_folder(path, contents)
        return path

    def encode(self, inputs: Any, *, batch_tokens: int = BATCH_TOKENS) -> NDArray[np.float32]:
        """(N, D) float32, rows in the order given. Inputs: texts or pairs, of which it is the mean over the real units;
        or what a base of patches reads (base/patch_inputs.py), pooled as its family does."""
        encoded: Encoded | PatchRows
        pooling: Pooling = "mean"
        if self.trunk.patches is not None:
            encoded, pooling = self._patches(inputs, column=None), self.trunk.patches.pooling
        else:
            rows = read_rows(inputs)
            encoded = self.text_codec.encode(rows.texts, rows.pairs)
        if not len(encoded):
            return np.empty((0, self.trunk.config.dim), dtype=np.float32)
        return self._reader(batch_tokens).features(encoded, pooling=pooling).numpy()

    def score(
        self,
        contexts: Sequence[str],
        continuations: Sequence[str],
        *,
        each: Measure = "text",
        pattern: Pattern = "causal",
        truncate: bool = False,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[float]:
        """The log-likelihood of every continuation in nats, 0 or less; or of each of its tokens or UTF-8 bytes, on
        average, so that continuations of unequal length can be compared.

        What contexts and continuations share at their beginning is read once, whatever the batch. truncate: a context
        that is too long for the base loses its beginning.

        pattern "causal": log p(continuation | context), read from left to right. "full": the pseudo-log-likelihood,
        the sum over the continuation's units of log p(unit | every other unit, context included).

        Raises:
            CapabilityError: the pattern is not one of `score_patterns`.
            DataError: a pair is longer than the base has positions for.
            ConfigError: `each` is none of the three.
        """
        if each not in MEASURES:
            raise ConfigError(f"each is {each!r}; expected text, token or byte.{did_you_mean(str(each), MEASURES)}")
        found = self.likelihoods(contexts, continuations, pattern=pattern, truncate=truncate, batch_tokens=batch_tokens)
        if each == "text":
            return found.nats.tolist()  # type: ignore[no-any-return]
        sizes = found.units if each == "token" else np.asarray([len(text.encode()) for text in continuations])
        return (found.nats / sizes).tolist()  # type: ignore[no-any-return]

    def likelihoods(
        self,
        contexts: Sequence[str],
        continuations: Sequence[str],
        *,
        pattern: Pattern = "causal",
        truncate: bool = False,
        batch_tokens: int = BATCH_TOKENS,
    ) -> Likelihoods:
        """What `score` tells, and which continuations are those that the base finds likeliest unit by unit."""
        if pattern == "causal":
            lm = self._causal_head("score")
            return score_continuations(
                self.trunk, lm, self.text_codec, contexts, continuations, truncate=truncate, batch_tokens=batch_tokens
            )
        lm, mask = self._filling_head(pattern)
        shifted = FAMILIES[self.family].pattern == "causal"  # ours: masked next-token prediction, one head for both
        return score_hidden(
            self.trunk,
            lm,
            self.text_codec,
            contexts,
            continuations,
            mask=mask,
            shifted=shifted,
            truncate=truncate,
            batch_tokens=batch_tokens,
        )

    @property
    def score_patterns(self) -> tuple[Pattern, ...]:
        """How `score` can read: "causal" for decoders, "full" where hidden units were learned; both for our own."""
        if self.lm is None:
            return ()
        causal = FAMILIES[self.family].pattern == "causal"
        if not isinstance(self.codec, TextCodec):
            return ()
        fills = self.codec.special.mask is not None and (self.pattern == "full" or not causal)
        return (*(("causal",) if causal else ()), *(("full",) if fills else ()))

    def score_words(
        self,
        befores: Sequence[str],
        words: Sequence[str],
        *,
        afters: Sequence[str] | None = None,
        pattern: Pattern = "causal",
        batch_tokens: int = BATCH_TOKENS,
    ) -> Scores:
        """(N, W) log-likelihoods in nats of every word after every text: a text is read once for all words.

        pattern "causal": log p(word | before); `afters` are not read. "full": the word is filled in at mask units
        between before and after, all its units at once.

        Raises:
            CapabilityError: the pattern is not one of `score_patterns`.
            DataError: a word has no tokens, a text is longer than the base has positions for, one text stands where a
                list is due, or there are more or fewer afters than befores.
        """
        check_words_asked(befores, words, afters)
        if pattern == "causal":
            self._causal_head("score")
            word_units(self.text_codec, words)
            contexts, continuations = [text for text in befores for _ in words], [*words] * len(befores)
            found = self.score(contexts, continuations, batch_tokens=batch_tokens)
            return np.asarray(found, dtype=np.float64).reshape(len(befores), len(words))
        lm, mask = self._filling_head(pattern)
        return fill_words(
            self.trunk,
            lm,
            self.text_codec,
            befores,
            words,
            [""] * len(befores) if afters is None else afters,
            mask=mask,
            shifted=FAMILIES[self.family].pattern == "causal",
            batch_tokens=batch_tokens,
        )

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int = 64, seed: int = 0, temperature: float = 0.0
    ) -> list[str]:
        """The continuation of every prompt: the most probable one, or drawn with `seed` where temperature is above 0.

        Raises:
            CapabilityError: the base cannot read from left to right.
        """
        sampling = Sampling(max_tokens=max_tokens, seed=seed, temperature=temperature)
        return continue_texts(self.decoder(), self.text_codec, prompts, sampling)

    def decoder(
        self, *, weights: Precision = "fp32", max_rows: int = MAX_ROWS, cache_bytes: int = CACHE_BYTES
    ) -> Decoder:
        """What continues units one by one, many requests at a time: `generate` and `headstart.prompt` stand on it.

        weights: what they are rounded to while decoding; the base itself stays as it is. On a CPU the rounded or
        rearranged weights are copies, made at the first call and kept with the base.

        Raises:
            CapabilityError: the base cannot read from left to right, or the machine has no such weights.
        """
        return Decoder(
            self.packs.model(self.trunk, self._causal_head("generate"), weights),
            end=self.text_codec.special.eos,
            pad=self.text_codec.special.pad,
            max_positions=self.text_codec.max_positions,
            max_rows=max_rows,
            cache_bytes=cache_bytes,
        )

    def predict(
        self, rows: Any, *, batch_tokens: int = BATCH_TOKENS
    ) -> list[str] | list[list[str]] | NDArray[np.float64]:
        """The answer per row: a label (choice), labels (labels), a number (score; an array), a label per word (tags).

        Raises:
            CapabilityError: the base was not adapted to a task.
        """
        contract = self._asks()
        if contract.kind == "score":
            return self._outputs(rows, batch_tokens)[:, 0] * contract.target_scale + contract.target_mean
        if contract.kind == "tags":
            return [[contract.labels[k] for k in row.argmax(axis=-1)] for row in self._word_chances(rows, batch_tokens)]
        return labels_of(probabilities(self._outputs(rows, batch_tokens), contract), contract)

    def predict_proba(self, rows: Any, *, batch_tokens: int = BATCH_TOKENS) -> Probabilities | list[Probabilities]:
        """Calibrated probabilities: (N, K) for choice and labels, one (words, K) array per row for tags.

        Raises:
            CapabilityError: the base was not adapted, or answers with a number.
        """
        contract = self._asks()
        if contract.kind == "score":
            raise CapabilityError(
                "this base answers with a number; expected a task with labels for probabilities. Use predict."
            )
        if contract.kind == "tags":
            return self._word_chances(rows, batch_tokens)
        return probabilities(self._outputs(rows, batch_tokens), contract)

    def label_scores(self, rows: Any, *, batch_tokens: int = BATCH_TOKENS) -> Scores:
        """Raw log-likelihoods of the spelt answers, before calibration: (N, W); (N, K, 2), no and yes, for labels.

        Raises:
            CapabilityError: the base was not adapted by a prompt.
        """
        return self._asker(batch_tokens).scores(read_rows(rows, columns=self._asks().columns))

    def check_prompts(self, rows: Any) -> None:
        """Whether the rows can be asked, before any compute.

        Raises:
            DataError: a prompt is longer than the base has positions for.
        """
        self._asker(BATCH_TOKENS).check(read_rows(rows, columns=self._asks().columns))

    @property
    def bare(self) -> Base:
        """The base without the question it was adapted to: trunk and language-model head as they are."""
        return replace(self, head=None, contract=None)

    @property
    def modality(self) -> Modality | None:
        """What the base reads: image, audio or series; None for text."""
        return self.codec.modality if isinstance(self.codec, PatchCodec) else None

    @property
    def text_codec(self) -> TextCodec:
        """The tokenizer; CapabilityError where the base reads patches."""
        if not isinstance(self.codec, TextCodec):
            raise CapabilityError(
                f"{self.name} reads patches of {self.codec.modality}; expected a base that reads text for this. "
                "Use encode or predict, or a text base."
            )
        return self.codec

    @property
    def report(self) -> dict[str, Any] | None:
        """The evidence of the last step in the lineage that trained, None where it left none."""
        last = next((record for record in reversed(self.lineage) if record.verb != "sketch"), None)
        return dict(last.results) if last is not None and last.results else None

    @property
    def digest(self) -> str:
        """SHA-256 over all weights, for `Record.parent`; reads every tensor once."""
        return weights_digest(self.trunk, self.lm, self.pooler, self.head)

    @property
    def identity(self) -> str:
        """SHA-256 over all that it answers by, weights and `fingerprint`, wherever it lies; reads every tensor once."""
        return identity(self.digest, self.fingerprint)

    @property
    def fingerprint(self) -> Fingerprint:
        """What it answers by beside its weights, for the contract of a prompt."""
        return fingerprint(self.trunk.config, self.codec, family=self.family, pattern=self.pattern)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}: {value}" for name, value in self._told.items())
        return f"<Base {self.name}; {told}>"

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self._told.items())
        return f"<table><caption>{html.escape(self.name)}</caption>{cells}</table>"

    @property
    def _told(self) -> dict[str, str]:
        """What a notebook shows of it: a line, and never the whole lineage, which holds a pre-training's curve."""
        config, contract = self.trunk.config, self.contract
        return {
            "family": self.family,
            "shape": f"{config.num_layers} layers x {config.dim}",
            "parameters": f"{self.trunk.num_parameters:,}",
            "task": "none" if contract is None else f"{contract.kind}, {contract.method}",
            "made by": " → ".join(record.verb for record in self.lineage) or "not told",
        }

    def _causal_head(self, verb: str) -> LMHead:
        if self.lm is None or "causal" not in self.score_patterns:
            instead = 'pattern="full"' if verb == "score" and "full" in self.score_patterns else "encode"
            raise CapabilityError(
                f"{self.name} ({self.family}) cannot {verb}: it does not read from left to right; expected a causal "
                f"base such as gpt2 or llama. Use {instead}, or another base."
            )
        return self.lm

    def _filling_head(self, pattern: str) -> tuple[LMHead, int]:
        if pattern != "full":
            raise ConfigError(f"the pattern is {pattern!r}; expected causal or full.{did_you_mean(pattern, PATTERNS)}")
        mask = self.text_codec.special.mask
        if self.lm is None or mask is None or "full" not in self.score_patterns:
            lacks = (
                "it has no language-model head"
                if self.lm is None
                else "its tokenizer has no mask token"
                if mask is None
                else f"it reads under the pattern {self.pattern} only"
            )
            raise CapabilityError(
                f"{self.name} ({self.family}) cannot fill hidden units: {lacks}; expected a base with a masked "
                "language model, or a hybrid one. Use encode, or another base."
            )
        return self.lm, mask

    def _asks(self) -> TaskContract:
        if self.contract is None:
            raise CapabilityError(
                f"{self.name} has no task; expected an adapted base. Adapt it first: headstart adapt TRAIN."
            )
        return self.contract

    def _adapted(self) -> tuple[TaskContract, TaskHead]:
        contract = self._asks()
        assert self.head is not None, "a base that asks without a prompt has a head"
        return contract, self.head

    def _asker(self, batch_tokens: int) -> Asker:
        """What a prompt needs of this base."""
        contract = self._asks()
        if contract.prompt is None:
            raise CapabilityError(
                f"{self.name} answers by a head; expected a prompted base. Adapt one with --method zero-shot."
            )
        pattern = contract.prompt.pattern

        def score(befores: Sequence[str], words: Sequence[str], afters: Sequence[str]) -> Scores:
            return self.score_words(befores, words, afters=afters, pattern=pattern, batch_tokens=batch_tokens)

        return Asker(self.text_codec, contract, score, partial(self.encode, batch_tokens=batch_tokens))

    def _outputs(self, rows: Any, batch_tokens: int) -> NDArray[np.float64]:
        contract = self._asks()
        if self.trunk.patches is not None:
            _, head = self._adapted()
            patches = self._patches(rows, column=contract.columns[0])
            patches.expect_channels(contract.channels)
            found = self._reader(batch_tokens).outputs(head, patches)
            return np.stack(found) if found else np.empty((0, contract.num_outputs))
        read = read_rows(rows, columns=contract.columns)
        if not len(read):
            return np.empty((0, contract.num_outputs))
        if contract.prompt is not None:
            return outputs_of(self._asker(batch_tokens).scores(read), contract)
        _, head = self._adapted()
        reader, limit = self._reader(batch_tokens), contract.max_length
        if contract.apart and read.pairs is not None:
            members = (self.text_codec.encode(side, max_length=limit) for side in (read.texts, read.pairs))
            return reader.pair_outputs(head, *members)
        return np.stack(reader.outputs(head, self.text_codec.encode(read.texts, read.pairs, max_length=limit)))

    def _word_chances(self, rows: Any, batch_tokens: int) -> list[Probabilities]:
        contract, head = self._adapted()
        reader = self._reader(batch_tokens)
        words = [tuple(row) for row in read_word_rows(rows, column=contract.columns[0]).texts]
        return word_probabilities(
            words, codec=self.text_codec, contract=contract, outputs=lambda encoded: reader.outputs(head, encoded)
        )

    def _reader(self, batch_tokens: int) -> Reader:
        pad = self.codec.special.pad if isinstance(self.codec, TextCodec) else 0
        return Reader(self.trunk, self.pattern, pad, batch_tokens)

    def _patches(self, rows: Any, *, column: str | None) -> PatchRows:
        assert isinstance(self.codec, PatchCodec)
        assert self.trunk.patches is not None
        return encode_inputs(self.codec, rows, self.trunk.patches, column=column)
