"""Hostile and broken input for everything that reads what other people wrote.

    python -m tests.fuzz [TARGET ...] [--inputs 100000] [--minutes 30] [--jobs 2] [--state runs/fuzz]

Guided by coverage (atheris, libFuzzer's engine: ``pip install atheris``), from the seeds in ``corpus/``. Every target
counts on where the last run of it ended. Prints the inputs so far and the escapes: exceptions that are no named outcome, answers
that break a property, and inputs that take more than ten seconds. An escape is kept in the state folder; once mended it belongs
into ``corpus/``, where ``test_fuzz.py`` reads it again in every test run.
"""
