"""Would the tests notice? Small mistakes put into the code one at a time, and the tests that run through them.

    python -m tests.mutation map [--tests tests/pareto ...]    # once: which test runs through which line, and how long it takes
    python -m tests.mutation run [--rooms pareto ...] [--mutants 400] [--minutes 60] [--jobs 2] [--seed 0]
    python -m tests.mutation report

Of all mistakes that cosmic-ray knows to make in ``pruning/``, ``removal/``, ``cost/``, ``pareto/`` and ``search/`` a sample is drawn
(``pip install cosmic-ray coverage``); each is tried in a copy of this checkout, on the tests that reach its line, the quickest first,
until one fails. ``run`` goes on where the last one ended. A mutant that no test reaches counts as one that survived.
"""
