"""The verdict: what the table means, in sentences that do not flatter.

Enter: a Report. Leave: plain sentences; a tie is called a tie, a control that wins is named first.
"""

from __future__ import annotations

from headstart.data.examples import Kind
from headstart.evaluate.report import Candidate, Report


def sentences(report: Report) -> list[str]:
    """The findings, most important first."""
    said = [
        headline(report),
        against_majority(report),
        against_scratch(report),
        prompts(report),
        against_plain(report),
        labels_worth(report),
    ]
    if report.interrupted:
        said.append("The run was interrupted: this is the best so far, not the whole comparison.")
    return [s for s in said if s]


def headline(report: Report) -> str:
    best = report.best
    low, high = best.ci95
    return (
        f"{best.title} reaches {best.value:.3f} {report.metric_title} "
        f"[{low:.3f}, {high:.3f}] on {best.n_test:,} test rows."
    )


def constant(kind: Kind) -> str:
    """How the majority control answers, in words."""
    return "giving each word its most frequent tag" if kind == "tags" else "always answering the same"


def against_majority(report: Report) -> str:
    """Said only where always answering the same is as good, or better: then the score above shows nothing."""
    floor = report.candidate("majority")
    if floor is None or (floor.value <= report.best.value and not floor.tied):
        return ""
    standing = "is statistically tied with it" if floor.tied else "is better"
    shown = "no understanding of these rows is shown" if report.prompts else "nothing is shown to be learnt"
    return f"{constant(report.task.kind).capitalize()} {standing} ({floor.value:.3f}): {shown}."


def against_scratch(report: Report) -> str:
    twin, best = report.candidate("scratch"), report.best
    if best.method == "scratch" or report.prompts:
        return ""
    if twin is None:
        return "The from-scratch control was not run, so what pre-training adds is not shown."
    if twin.tied:
        return f"From scratch is statistically tied with it ({twin.value:.3f}): no gain from pre-training is shown."
    if twin.value > best.value:
        return f"Training from scratch is better ({twin.value:.3f}): pre-training does not help here."
    gain = best.value - twin.value
    return f"The same network from scratch reaches {twin.value:.3f}: pre-training adds {gain:.3f}{sure(twin)}."


def prompts(report: Report) -> str:
    """What a prompt reaches beside a probe with all the labels, and how far prompts lie apart."""
    if not report.prompts:
        return ""
    said = []
    probe = report.candidate("probe")
    if probe is not None and probe.value > report.best.value and not probe.tied:
        said.append(f"A probe with all the labels reaches {probe.value:.3f}{sure(probe)}.")
    mine = [one for one in report.prompts if one.method == report.chosen.method]
    if len(mine) > 1:
        low, high = min(one.value for one in mine), max(one.value for one in mine)
        said.append(f"That is the mean of {len(mine)} prompts, which reach {low:.3f} to {high:.3f}.")
    return " ".join(said)


def against_plain(report: Report) -> str:
    control, best = report.candidate("tfidf") or report.candidate("nearest"), report.best
    if control is None:
        return ""
    title = control.title[:1].upper() + control.title[1:]
    if control.tied:
        return f"{title} is statistically tied with it ({control.value:.3f}) and costs far less."
    if control.value > best.value:
        return f"{title} is better, {control.value:.3f}{sure(control)}: on these rows the plain control wins."
    return f"{title} stays behind: {control.value:.3f}{sure(control)}."


def labels_worth(report: Report) -> str:
    worth = None if report.label_curve is None else report.label_curve.worth
    if worth is None:
        return ""
    low, high = worth.ci95 or (worth.times, worth.times)
    if not worth_is_shown(report):
        return f"What pre-training is worth in labels cannot be told from these rows ({low:.1f} to {high:.1f} times)."
    sure_of = {
        "about": f" [{low:.1f}, {high:.1f}]",
        "more than": f" (at least {low:.1f})" if low < 0.99 * worth.times else "",
    }
    times = f"{worth.relation} {worth.times:.1f} times{sure_of.get(worth.relation, '')}"
    return f"Pre-training is worth {times} the labels here."


def worth_is_shown(report: Report) -> bool:
    """Whether the label curve says something: the whole tables are not tied and the interval leaves out 1."""
    curve, twin = report.label_curve, report.candidate("scratch")
    if curve is None or curve.worth is None or twin is None or twin.tied:
        return False
    low, high = curve.worth.ci95 or (curve.worth.times, curve.worth.times)
    return not low <= 1 <= high


def sure(candidate: Candidate) -> str:
    return "" if candidate.vs_best is None else f" (p {p_text(candidate.vs_best.p)})"


def p_text(p: float) -> str:
    """p as people write it."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
