"""What to export for which need, in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from prune_search.errors import UserError
from prune_search.search.pick import choose
from prune_search.search.results import TEST_ACCURACY, Found, Record, control_of


@dataclass(frozen=True)
class Advice:
    """A need, the trial that serves it best, and what to type.

    Attributes:
        needs: One line each; several needs may have the same answer.
        options: Of ``prune-search export``, such as ``--where "accuracy >= 0.97" --minimize params``.
    """

    needs: tuple[str, ...]
    record: Record
    options: str

    def command(self, name: str) -> str:
        """What exports it from the search ``name``."""
        return f"prune-search export {name} {self.options}".strip()


def advise(found: Found) -> list[Advice]:
    """Answers to what people ask first; none before a trial is on the front."""
    if not found.front:
        return []
    control = control_of(found)
    best = max(found.completed, key=lambda record: record.report.accuracy)
    bar, whose = (control, "the dense control") if control else (best, "the most accurate trial")
    floor = bar.report.accuracy
    same, near = ({"where": f"accuracy >= {_down(value)}"} for value in (floor, floor - 0.01))
    asked: list[tuple[str, dict[str, str]]] = [
        ("the best trade-off (the knee of the front)", {}),
        (f"the smallest that is as accurate as {whose}", {**same, "minimize": "params"}),
        (f"the smallest within one point of {whose}", {**near, "minimize": "params"}),
        (f"the fastest on dense kernels within one point of {whose}", {**near, "minimize": "physical_macs"}),
        ("the most accurate", {"maximize": "accuracy"}),
    ]
    answers: dict[int, Advice] = {}
    for need, rule in asked:
        try:
            record = choose(found, **rule)
        except UserError:
            continue
        known = answers.get(record.number, Advice((), record, _options(rule)))
        answers[record.number] = replace(known, needs=(*known.needs, need))
    return list(answers.values())


def caveats(found: Found, name: str, confirmed: int) -> list[str]:
    """What the figures are worth: how they were chosen, on how many seeds, from how many configurations."""
    states = [record.state for record in found.records]
    lines = [
        f"{len(states)} configurations were tried, {states.count('completed')} of them trained to their end; "
        f"the {len(found.front)} on the front were chosen by the validation split. The best of many look better than they are."
    ]
    tested = [r for r in found.front if r.test_accuracy is not None]
    if tested:
        gap = sum(r.metrics()[TEST_ACCURACY] - r.report.accuracy for r in tested) / len(tested)
        lines.append(
            f"Test accuracy was read once, after selection: on average {100 * gap:+.2f} points from validation accuracy on the front."
        )
    else:
        lines.append("Test accuracy is read once, when the search has ended.")
    lines.append(
        f"{confirmed} configurations were trained again with new seeds; their means and errors are below."
        if confirmed
        else f"Each trial is one seed. Before you rely on one, see how much was luck: prune-search confirm {name} --seeds 5"
    )
    if control_of(found) is None:
        lines.append("No dense control completed, so nothing here says what pruning has cost.")
    return lines


def _down(value: float) -> str:
    """Four decimals, not above the value."""
    return f"{int(value * 10_000 + 1e-6) / 10_000:g}"


def _options(rule: dict[str, str]) -> str:
    """A rule as one types it."""
    return " ".join(f'--{name} "{value}"' if " " in value else f"--{name} {value}" for name, value in rule.items())
