"""The peer of the quality and speed comparisons: a Hugging Face checkpoint fine-tuned with the Trainer, any task kind.

In: a table written by bench/tables.py and a checkpoint folder. Out: one JSON line (metrics, seconds, versions, load)
and, with --predictions, one JSON value a test row. Everything the flags do not say is the Trainer's own default (AdamW
5e-5, linear decay, fp32, padding to the longest row of a batch, the last checkpoint kept). train_seconds is train()
alone; fit_seconds adds what our fit does besides: training and validation rows tokenised, validation rows scored once
after the last epoch. Run it as a user would run a script: `python -m bench.hf_trainer --model DIR --task DIR`; it
imports nothing of the project but the scoring rule.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IGNORED = -100  # torch's cross-entropy and the token-classification collator leave this target out


@dataclass(frozen=True)
class Split:
    """Tokenised rows of one file, the gold answers, and for tags the position of every word's first piece."""

    features: list[dict[str, Any]]
    gold: list[Any]
    firsts: list[list[int]]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="checkpoint folder")
    parser.add_argument("--task", type=Path, required=True, help="folder with card.json and the three .jsonl files")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, help="default: the Trainer's 5e-5")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--train-rows", type=int, help="only the first rows of the (already shuffled) training file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--group-by-length", action="store_true")
    parser.add_argument("--scratch", action="store_true", help="same architecture, random weights")
    parser.add_argument("--lora", action="store_true", help="peft, rank 8, alpha 16, dropout 0.1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--predictions", type=Path, help="file that receives one JSON value a test row")
    return parser.parse_args()


def read_rows(path: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """The rows of a .jsonl file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines][:limit]


def label_names(rows: list[dict[str, Any]], *, card: dict[str, Any]) -> list[str]:
    """The sorted label names of the training rows; none for a score."""
    values = [row[card["label"]] for row in rows]
    if card["kind"] == "choice":
        return sorted(set(values))
    return sorted({name for names in values for name in names}) if card["kind"] in ("labels", "tags") else []


def target_of(value: Any, *, kind: str, names: list[str]) -> Any:
    """The model's target of one row: class index, 0/1 floats, or a float. A label unseen in train counts as wrong."""
    if kind == "choice":
        return names.index(value) if value in names else 0
    return [float(name in value) for name in names] if kind == "labels" else float(value)


def tokenised(
    rows: list[dict[str, Any]], *, tokenizer: Any, card: dict[str, Any], names: list[str], limit: int
) -> Split:
    """Rows as the model's inputs. Tags stand on the first piece of every word, as in the library's own example."""
    kind, gold = card["kind"], [row[card["label"]] for row in rows]
    columns = [[row[column] for row in rows] for column in card["text"].split(",")]
    split_words = kind == "tags"
    encoded = tokenizer(*columns, truncation=True, max_length=limit, is_split_into_words=split_words)
    features = [{key: encoded[key][row] for key in encoded} for row in range(len(rows))]
    if not split_words:
        for feature, value in zip(features, gold, strict=True):
            feature["labels"] = target_of(value, kind=kind, names=names)
        return Split(features, gold, firsts=[])
    firsts = []
    for row, feature in enumerate(features):
        words = encoded.word_ids(row)
        spots = [s for s, word in enumerate(words) if word is not None and word != (words[s - 1] if s else None)]
        feature["labels"] = [IGNORED] * len(words)
        for spot in spots:
            tag = gold[row][words[spot]]
            feature["labels"][spot] = names.index(tag) if tag in names else IGNORED
        firsts.append(spots)
    return Split(features, gold, firsts)


def build(arguments: argparse.Namespace, *, card: dict[str, Any], names: list[str]) -> Any:
    """The model with a fresh head of the right kind; LoRA and random weights on request."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

    tags = card["kind"] == "tags"
    kinds = {"labels": "multi_label_classification", "score": "regression", "choice": "single_label_classification"}
    settings: dict[str, Any] = {"num_labels": len(names) or 1}
    if not tags:
        settings["problem_type"] = kinds[card["kind"]]
    factory: Any = AutoModelForTokenClassification if tags else AutoModelForSequenceClassification
    if arguments.scratch:
        model = factory.from_config(AutoConfig.from_pretrained(arguments.model, **settings))
    else:
        model = factory.from_pretrained(arguments.model, **settings)
    if not arguments.lora:
        return model
    from peft import LoraConfig, TaskType, get_peft_model

    task = TaskType.TOKEN_CLS if tags else TaskType.SEQ_CLS
    return get_peft_model(model, LoraConfig(task_type=task, r=8, lora_alpha=16, lora_dropout=0.1))


def trainer_of(arguments: argparse.Namespace, *, model: Any, tokenizer: Any, train: Split, tags: bool, out: str) -> Any:
    """The Trainer with its defaults and the flags given."""
    from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding, Trainer, TrainingArguments

    chosen: dict[str, Any] = {"learning_rate": arguments.lr} if arguments.lr else {}
    if arguments.group_by_length:
        chosen["train_sampling_strategy"] = "group_by_length"
    settings = TrainingArguments(
        output_dir=out,
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=arguments.batch,
        per_device_eval_batch_size=32,
        seed=arguments.seed,
        bf16=arguments.bf16,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **chosen,
    )
    collator = (DataCollatorForTokenClassification if tags else DataCollatorWithPadding)(tokenizer)
    return Trainer(model=model, args=settings, train_dataset=train.features, data_collator=collator)


def answers(logits: Any, *, split: Split, kind: str, names: list[str]) -> list[Any]:
    """Predictions in the table's own words. Words cut off by the length limit are answered O."""
    if kind == "choice":
        return [names[best] for best in logits.argmax(-1)]
    if kind == "labels":
        return [[names[column] for column in (row > 0).nonzero()[0]] for row in logits]
    if kind == "score":
        return [float(value) for value in logits.reshape(-1)]
    found = []
    for row, gold in enumerate(split.gold):
        said = [names[best] for best in logits[row, split.firsts[row]].argmax(-1)]
        found.append((said + ["O"] * len(gold))[: len(gold)])
    return found


def main() -> None:
    """Trains, predicts the test file, prints one JSON line."""
    arguments = options()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    import torch
    from transformers import AutoTokenizer, set_seed

    from bench.processes import versions
    from bench.scoring import score

    torch.set_num_threads(arguments.threads)
    set_seed(arguments.seed)
    card = json.loads((arguments.task / "card.json").read_text(encoding="utf-8"))
    kind, started = card["kind"], time.perf_counter()
    rows = {name: read_rows(arguments.task / f"{name}.jsonl") for name in ("train", "validation", "test")}
    rows["train"] = rows["train"][: arguments.train_rows]
    names, tokenizer = label_names(rows["train"], card=card), AutoTokenizer.from_pretrained(arguments.model)
    shape = {"tokenizer": tokenizer, "card": card, "names": names, "limit": arguments.max_length}
    test, tokenising = tokenised(rows["test"], **shape), time.perf_counter()
    train, validation = tokenised(rows["train"], **shape), tokenised(rows["validation"], **shape)
    tokenising = time.perf_counter() - tokenising
    model = build(arguments, card=card, names=names)
    with tempfile.TemporaryDirectory() as out:
        trainer = trainer_of(arguments, model=model, tokenizer=tokenizer, train=train, tags=kind == "tags", out=out)
        ready = time.perf_counter()
        trainer.train()
        trained = time.perf_counter()
        trainer.evaluate(validation.features)
        validated = time.perf_counter()
        # group_by_length sorts what is predicted too (transformers 5.23): answers would come back in another order.
        trainer.args.train_sampling_strategy = "random"
        logits = trainer.predict(test.features).predictions
        predicted_at = time.perf_counter()
    said = answers(logits, split=test, kind=kind, names=names)
    if arguments.predictions:
        arguments.predictions.write_text("".join(json.dumps(value) + "\n" for value in said), encoding="utf-8")
    result = {
        "peer": "hf-trainer",
        "task": card["name"],
        "method": "lora" if arguments.lora else "scratch" if arguments.scratch else "full",
        "metrics": {metric: score(metric, test.gold, said) for metric in card["metrics"]},
        "train_rows": len(train.features),
        "n_test": len(test.gold),
        "prepare_seconds": ready - started,
        "train_seconds": trained - ready,
        "fit_seconds": tokenising + validated - ready,
        "predict_seconds": predicted_at - validated,
        "ms_per_row": 1000 * (predicted_at - validated) / len(test.gold),
        "params_trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()},
        "versions": versions("torch", "transformers", "accelerate", "peft", "tokenizers"),
        "load_average": os.getloadavg(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
