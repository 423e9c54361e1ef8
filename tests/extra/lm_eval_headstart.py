"""lm-evaluation-harness on our engine: a model class of the harness, `headstart`, over `Base` and `prompt.engine`.

The package never imports this file, and this file needs the harness (written against 0.4.13). With both importable,
every flag is the harness' own:

    python tests/extra/lm_eval_headstart.py --model headstart --model_args base=text-tiny --tasks piqa --log_samples
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from headstart.base.base import Base
from headstart.base.sampling import Sampling
from headstart.base.scoring import Asked, opening_ids, score_asked
from headstart.ground.errors import CapabilityError
from headstart.prompt.chat import render
from headstart.prompt.engine import Engine, Request

MAX_NEW = 256  # the harness' own, where a task says nothing
BATCH_TOKENS = 2048


@register_model("headstart")
class HeadstartLM(LM):  # type: ignore[misc]
    """base: a name, a folder or a .gguf. pattern: how log-likelihoods are read, "causal" or "full" (pseudo). weights:
    what they are rounded to where answers are written."""

    def __init__(
        self,
        base: str,
        pattern: str = "causal",
        weights: str = "fp32",
        batch_size: object = None,
        max_batch_size: object = None,
        device: object = None,
    ) -> None:
        super().__init__()
        self._base = Base.load(base)
        self._pattern: Any = pattern
        self._weights: Any = weights

    @property
    def tokenizer_name(self) -> str:
        """Names what the harness keeps by tokenizer."""
        return self._base.text_codec.digest

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(nats, whether greedy decoding would have written it) of every continuation; long contexts are cut."""
        contexts, continuations = ([request.args[side] for request in requests] for side in (0, 1))
        found = self._base.likelihoods(contexts, continuations, pattern=self._pattern, truncate=True)
        answers = list(zip(found.nats.tolist(), found.likeliest.tolist(), strict=True))
        return self._kept("loglikelihood", requests, answers)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Nats of whole texts, in windows of what the base has positions for. As the harness' hf model has it, an
        opening that the tokenizer puts before every text is part of the text."""
        base, codec = self._base, self._base.text_codec
        assert base.lm is not None
        opening, special = opening_ids(codec, needed=False), codec.special
        prefix = special.eos if special.bos is None else special.bos
        asked, owners = [], []
        for place, request in enumerate(requests):
            units = opening + codec.encode_plain([request.args[0]])[0].tolist()
            windows = get_rolling_token_windows(units, prefix, codec.max_positions, context_len=1)
            for before, scored in map(make_disjoint_window, windows):
                ids = np.asarray([*before, *scored], dtype=np.int32)
                asked.append(Asked(ids, len(before), len(ids)))
                owners.append(place)
        found = score_asked(base.trunk, base.lm, asked, pad=codec.special.pad, batch_tokens=BATCH_TOKENS)
        answers = np.bincount(owners, weights=found.nats, minlength=len(requests)).tolist()
        return self._kept("loglikelihood_rolling", requests, answers)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers up to the task's stop strings or the end token; prompts that are too long lose their beginning."""
        engine = Engine(self._base, weights=self._weights)
        asked = [self._request(*request.args) for request in requests]
        return self._kept("generate_until", requests, [answer.text for answer in engine.answers(asked)])

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """By the base's own template."""
        if not add_generation_prompt:
            raise CapabilityError("the harness asks to go on with an answer; expected a new one. Leave out prefilling.")
        return render(self._base.text_codec, chat_history)

    def _request(self, prompt: str, settings: dict[str, Any]) -> Request:
        until = settings.get("until") or []
        drawn = bool(settings.get("do_sample")) and settings.get("temperature") != 0
        sampling = Sampling(
            max_tokens=min(int(settings.get("max_gen_toks", MAX_NEW)), self._base.text_codec.max_positions - 1),
            temperature=float(settings.get("temperature", 1.0)) if drawn else 0.0,
            top_p=float(settings.get("top_p", 1.0)),
            top_k=settings.get("top_k") or None,
        )
        return Request(prompt, sampling, tuple([until] if isinstance(until, str) else until), truncate=True)

    def _kept(self, kind: str, requests: list[Instance], answers: list[Any]) -> list[Any]:
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial(kind, request.args, answer)
        return answers


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
