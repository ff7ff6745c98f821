"""What does the sampler lose by looking at a thinned history? The same searches with all trials shown to it.

    python -m tests.benchmarks.thinning TABLE [--seeds 6] [--workers 16] [--trials 600]

Printed as by ``prune-search simulate``; the time of a question with and without is in :mod:`tests.benchmarks.growth`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest.mock import patch

from prune_search.cli.console import console
from prune_search.cli.tables import simulation_table
from prune_search.search.asking import asker
from prune_search.search.simulation.compare import Strategy, compare
from prune_search.search.simulation.table import load
from prune_search.search.storage import quiet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--strategy", default="tpe+moasha-schedule-aware")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--trials", type=int, default=600)
    arguments = parser.parse_args()
    quiet()
    size = {"workers": arguments.workers, "trials": arguments.trials, "seeds": arguments.seeds}
    table, strategy = load(arguments.table), Strategy.parse(arguments.strategy)
    comparison = compare(table, [strategy], **size)
    with patch.dict(asker.THINNED, clear=True):
        whole = compare(table, [strategy], **size)
    comparison.traces["all trials shown"] = whole.traces[strategy.name]
    console.print(simulation_table(comparison))


if __name__ == "__main__":
    main()
