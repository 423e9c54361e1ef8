"""README.md of a base folder: facts that are in its lineage, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from headstart.base.contract import TaskContract
from headstart.base.lineage import Record
from headstart.base.prompt import Prompt
from headstart.base.told import NOT_STATED, told
from headstart.data.raw import Modality
from headstart.data.sketch import file_name
from headstart.model.trunk import Trunk

PIPELINES = {
    "choice": "text-classification",
    "labels": "text-classification",
    "score": "text-classification",
    "tags": "token-classification",
}
# The hub has no pipeline for series.
PATCH_PIPELINES: dict[Modality, str] = {"image": "image-classification", "audio": "audio-classification"}

PATTERNS = {"causal": "from left to right", "full": "both ways and filling the answer in"}


def card(
    *,
    name: str,
    family: str,
    trunk: Trunk,
    contract: TaskContract | None,
    lineage: tuple[Record, ...],
    adapter: Mapping[str, Any] | None,
    sketched: bool = False,
    modality: Modality | None = None,
) -> str:
    """The model card: YAML front matter that the hub reads, then what it is, what it answers and how it was made.

    modality: what the base reads, None for text.
    """
    licence = told(asdict(record) for record in lineage)
    licensed = [] if licence == NOT_STATED else [f"license: {json.dumps(licence)}"]
    front = ["---", "library_name: headstart", *licensed, *_pipeline(contract, modality)]
    front += ["tags:", "- headstart", f"- {family}", "---"]
    config, patches = trunk.config, trunk.patches
    example = '"a text"' if patches is None else "an_input"
    reads = (
        f"{config.vocab_size:,} tokens"
        if patches is None
        else f"patches of {patches.channels} x {patches.patch[0]} x {patches.patch[1]}"
    )
    shape = (
        f"{trunk.num_parameters:,} parameters · {config.num_layers} layers · width {config.dim} · "
        f"{reads} · {config.max_positions:,} positions"
    )
    body = ["", f"# {name}", "", f"A {family} model: {shape}.", *_answers(contract, modality)]
    if adapter is not None:
        body += [
            "",
            f"LoRA (rank {adapter['rank']}, {', '.join(adapter['targets'])}) lie in `adapter/`, in PEFT's format.",
        ]
    body += [
        "",
        "## How it was made",
        "",
        "| step | started from | data (licence) | seed | seconds | code |",
        "|---|---|---|---|---|---|",
    ]
    body += [_row(record) for record in lineage]
    body += [
        *(_sketch(lineage) if sketched else []),
        "",
        "Not measured here: anything that is not in `headstart.json`.",
        "",
        "## Use",
        "",
        "```python",
        "import headstart",
        "",
        'base = headstart.Base.load("this-folder")',
        f"base.{'predict' if contract else 'encode'}([{example}])",
        "```",
        "",
    ]
    return "\n".join(front + body)


def _pipeline(contract: TaskContract | None, modality: Modality | None) -> list[str]:
    if contract is None:
        return ["pipeline_tag: feature-extraction"]
    pipeline = PIPELINES[contract.kind] if modality is None else PATCH_PIPELINES.get(modality)
    return [] if pipeline is None else [f"pipeline_tag: {pipeline}"]


def _answers(contract: TaskContract | None, modality: Modality | None) -> list[str]:
    if contract is None:
        return []
    shown = ", ".join(json.dumps(label, ensure_ascii=False) for label in contract.labels[:20])
    more = f" and {len(contract.labels) - 20} more" if len(contract.labels) > 20 else ""
    labels = f" Labels: {shown}{more}." if contract.labels else ""
    limit = f"at most {contract.max_length} tokens, " if modality is None else ""
    return [
        "",
        f"It answers a `{contract.kind}` question about {' and '.join(contract.columns)} (method {contract.method}, "
        f"{limit}temperature {contract.temperature:.3f}).{labels}",
        *_asked(contract.prompt),
    ]


def _asked(prompt: Prompt | None) -> list[str]:
    """What a prompt asks and whom: this folder then holds no weights."""
    if prompt is None or prompt.base is None:
        return []
    which = f"the {prompt.nearest} nearest of {len(prompt.shots)}" if prompt.nearest else f"{len(prompt.shots)}"
    told = " They are rows of the training table: do not pass this folder on where those are private."
    return [
        "",
        f"No weights lie here: it asks `{prompt.base.name}` (weights {prompt.base.digest[:12]}), reading "
        f"{PATTERNS[prompt.pattern]}, with {which} demonstrations; calibration: {prompt.calibration}."
        f"{told if prompt.shots else ''}",
        "",
        *(f"    {line}" for line in prompt.template.splitlines()),
    ]


def _sketch(lineage: tuple[Record, ...]) -> list[str]:
    """What lies in the sketches, as the lineage tells it."""
    told = [record.results["sketch"] for record in lineage if "sketch" in record.results]
    lines = [
        f"`{file_name(place)}` ({facts['bytes'] / 1e6:.2f} MB) tells whether a text stood in what was read "
        f"({_cell(facts['covers'])}; {facts['words']:,} words), without the text: a set of "
        f"{'all' if facts['share'] == 1.0 else format(facts['share'], '.0%')} word 6-grams. "
        "`headstart data check FILE --against THIS-FOLDER` looks a table up."
        for place, facts in enumerate(told)
    ]
    return [line for one in lines for line in ("", one)]


def _row(record: Record) -> str:
    named: dict[str, list[str]] = {}  # by licence
    for source in record.data:
        named.setdefault(_cell(source.licence), []).append(_cell(source.name))
    data = "; ".join(f"{', '.join(names)} ({licence})" for licence, names in named.items()) or "none"
    seconds = "not measured" if record.seconds is None else f"{record.seconds:.1f}"
    parent = record.parent[:12] if record.parent else "none"
    seed = "none" if record.seed is None else str(record.seed)
    return f"| {record.verb} | {parent} | {data} | {seed} | {seconds} | {_cell(record.code)} |"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
