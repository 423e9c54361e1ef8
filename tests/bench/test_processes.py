"""A measured process: what it printed, what it cost, and a failure that cannot be overlooked."""

from __future__ import annotations

import sys

import pytest
from bench.processes import Finished, measured


def test_a_run_gives_its_output_and_its_cost() -> None:
    code = "import json; sum(range(3_000_000)); print('log line'); print(json.dumps({'value': 3}))"
    run = measured([sys.executable, "-c", code], threads=1)
    assert run.last_json() == {"value": 3}
    assert 0 < run.cpu <= run.wall + 0.5
    assert run.peak_mb > 1


def test_a_failing_run_raises_with_its_error_output() -> None:
    with pytest.raises(RuntimeError, match="ended with 3") as caught:
        measured([sys.executable, "-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)"])
    assert "the reason" in str(caught.value)


def test_output_without_json_is_said() -> None:
    run = Finished("nothing here", "", wall=1.0, cpu=1.0, peak_mb=1.0, other_cores=0.0)
    with pytest.raises(ValueError, match="expected one JSON object"):
        run.last_json()
