"""lm-evaluation-harness' dialect: the same requests as the harness makes of a file, and what is refused and why.

`dialect/requests.json` is what lm_eval 0.4.13 made of the task files beside it (examples drawn with its seed 1234).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluate.made_sets import write_sets

from headstart.base.base import Base
from headstart.evaluate.suite.harness import find_tasks, is_dialect, moved
from headstart.evaluate.suite.index import SetOnDisk, Unread
from headstart.evaluate.suite.run import Settings, evaluate
from headstart.evaluate.suite.sources import find_sets
from headstart.evaluate.suite.writing import sample_of
from headstart.ground.errors import ConfigError, DataError

DIALECT = Path(__file__).parent / "dialect"
THEIRS = json.loads((DIALECT / "requests.json").read_text(encoding="utf-8"))


def found() -> dict[str, SetOnDisk]:
    sets, unread = find_sets(DIALECT, suite="core")
    assert not unread
    return {one.spec.name: one for one in sets}


def rows(name: str, limit: int | None = None) -> Any:
    read = found()[name].rows
    assert read is not None
    return read(limit)


def test_choices_are_the_requests_of_the_harness() -> None:
    ours = [option for item in rows("made_mc") for option in item.options]
    assert ours == [moved(*request) for request in THEIRS["made_mc"]]
    assert [item.answer for item in rows("made_mc")] == [0, 1, 2, 0, 1, 2]
    assert rows("made_mc", 2) == rows("made_mc")[:2]


def test_continuations_are_the_requests_of_the_harness() -> None:
    assert [item.options[0] for item in rows("made_ll")] == [moved(*request) for request in THEIRS["made_ll"]]
    assert rows("made_ll")[0].options[0] == ("lamp goes to the", " rug")


def test_prompts_are_the_requests_of_the_harness() -> None:
    demands = rows("made_gen").items
    assert [one.prompt for one in demands] == THEIRS["made_gen"]
    assert demands[0].prompt.startswith("Answer these.\n\nQuestion: Which of these is thing 1?")
    spec = found()["made_gen"].spec
    assert (spec.wording.stop, spec.wording.max_tokens) == (("Question:",), 24)
    right = sample_of(demands[2], "it is 3 or\n#### 14, so 14.", spec)
    assert (right.target, right.prediction) == ("14", "14")
    assert right.numbers == {"exact_match,strict-match": 1.0, "exact_match,flexible-extract": 1.0}
    loose = sample_of(demands[2], "it is 14.", spec)
    assert loose.prediction == "[invalid]"
    assert loose.numbers == {"exact_match,strict-match": 0.0, "exact_match,flexible-extract": 1.0}


def test_task_files_are_evaluated_and_told_as_the_harness_does(tiny_base: Base, tmp_path: Path) -> None:
    settings = Settings(lm_eval=True)
    done = evaluate([tiny_base], data=DIALECT, out=tmp_path, settings=settings)
    tables = {t.task.name: t.task for t in done.tasks}
    assert {name: card.metric for name, card in tables.items()} == {
        "made_gen": "answer_match", "made_ll": "accuracy", "made_mc": "accuracy",
    }  # fmt: skip
    told = json.loads(next((tmp_path / "lm-eval" / "tiny").glob("results_*.json")).read_text())
    assert set(told["results"]["made_mc"]) > {"acc,none", "acc_stderr,none", "acc_norm,none", "acc_bytes,none"}
    assert set(told["results"]["made_ll"]) > {"acc,none", "perplexity,none", "perplexity_stderr,none"}
    assert "exact_match,strict-match" in told["results"]["made_gen"]
    own = next(row for t in done.tasks for row in t.candidates if t.task.name == "made_mc" and row.role == "base")
    assert told["results"]["made_mc"]["acc,none"] == pytest.approx(own.value)
    assert told["n-shot"] == {"made_gen": 2, "made_ll": 0, "made_mc": 2}
    assert told["higher_is_better"]["made_ll"] == {"acc": True, "perplexity": False, "filled": True}
    lines = next((tmp_path / "lm-eval" / "tiny").glob("samples_made_mc_*.jsonl")).read_text().splitlines()
    sample = json.loads(lines[1])
    assert sample["doc_id"] == 1
    asked = sample["arguments"]["gen_args_0"]
    assert [asked["arg_0"], asked["arg_1"]] == list(moved(*THEIRS["made_mc"][3]))
    assert len(sample["resps"]) == 3
    assert set(sample["metrics"]) == {"acc", "acc_norm", "acc_bytes"}
    for name in sample["metrics"]:
        mean = np.mean([json.loads(line)[name] for line in lines])
        assert mean == pytest.approx(told["results"]["made_mc"][f"{name},none"])


def test_labelled_rows_are_told_as_texts_and_their_answers(tiny_base: Base, tmp_path: Path) -> None:
    settings = Settings(tasks=("twins", "grades", "words"), lm_eval=True, limit=12)
    evaluate([tiny_base], data=write_sets(tmp_path / "sets"), out=tmp_path, settings=settings)

    def first(task: str) -> Any:
        (path,) = (tmp_path / "lm-eval" / "tiny").glob(f"samples_{task}_*.jsonl")
        return json.loads(path.read_text().splitlines()[0])

    pair, words = first("twins"), first("words")
    assert list(pair["arguments"]) == ["gen_args_0"]
    assert list(pair["arguments"]["gen_args_0"]) == ["arg_0"], "no text was weighed after another"
    assert pair["arguments"]["gen_args_0"]["arg_0"].count("\n") == 1
    assert pair["resps"] == [[pair["prediction"]]], "the answer, and no probabilities as log-likelihoods"
    assert pair["mcc"] == [int(pair["target"]), pair["prediction"]], "gold and prediction, as the harness keeps them"
    assert first("grades")["pearson"] == [float(first("grades")["target"]), first("grades")["prediction"]]
    assert words["span_f1"] == [json.loads(words["target"]), words["prediction"]]
    assert words["arguments"]["gen_args_0"]["arg_0"].startswith("the ")


def written(folder: Path, text: str) -> SetOnDisk | Unread:
    shutil.copy(DIALECT / "rows.jsonl", folder)
    path = folder / "one.yaml"
    path.write_text(text, encoding="utf-8")
    sets, unread = find_tasks(path)
    return (sets + unread)[0]


BASIC = """
task: one
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{txt}}"
doc_to_target: "{{last}}"
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("include: other.yaml\n" + BASIC, "unknown field `include`"),
        (BASIC + "process_docs: !function utils.f\n", "never run here"),
        (BASIC + "x: !!python/object/apply:os.system ['true']\n", "never run here"),
        (BASIC + "process_results: f\n", "unknown field `process_results`"),
        (BASIC.replace("json", "EleutherAI/lambada", 1), "Invalid enum value"),
        (BASIC + "metric_list: [{metric: bleu}]\n", "metric bleu of loglikelihood is not read"),
        (BASIC.replace("test_split: test\n", ""), "neither test_split nor validation_split"),
        (BASIC.replace("rows.jsonl", "none.jsonl"), "there is no file"),
        (BASIC + "metadata: &a [x]\ntag: *a\n", "aliases"),
    ],
)
def test_what_is_not_read_is_told_with_its_reason(text: str, reason: str, tmp_path: Path) -> None:
    one = written(tmp_path, text)
    assert isinstance(one, Unread)
    assert reason in one.reason


@pytest.mark.parametrize(
    "template", ["{{ txt.__class__.__mro__ }}", "{{ nobody }}", "{% for i in range(10**9) %}x{% endfor %}"]
)
def test_templates_stay_in_the_sandbox(template: str, tmp_path: Path) -> None:
    one = written(tmp_path, BASIC.replace("{{txt}}", template))
    assert isinstance(one, SetOnDisk)
    assert one.rows is not None
    with pytest.raises(DataError, match="template of one"):
        one.rows(None)


def test_names_files_and_folders(tmp_path: Path) -> None:
    assert is_dialect(DIALECT)
    assert is_dialect(DIALECT / "made_mc.yaml")
    assert not is_dialect(tmp_path)
    assert [one.spec.name for one in find_tasks(DIALECT, tasks=("made_ll",))[0]] == ["made_ll"]
    with pytest.raises(ConfigError, match="--tasks names 'made_l'"):
        find_tasks(DIALECT, tasks=("made_l",))
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(DataError, match="is no YAML"):
        find_tasks(tmp_path)


def test_a_name_is_of_one_task_and_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"txt": "a", "last": "b"}\n')
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(BASIC)
    with pytest.raises(DataError, match=r"second.yaml and first.yaml both name the task 'one'; expected different"):
        find_tasks(tmp_path)
    (tmp_path / "second.yaml").write_text(BASIC.replace("task: one", 'task: "o\\e[31mne"'))
    with pytest.raises(DataError, match="without control characters") as caught:
        find_tasks(tmp_path)
    assert "\x1b" not in str(caught.value)
