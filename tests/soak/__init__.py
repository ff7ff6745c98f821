"""Searches without end over random networks and random spaces, most of them with a fault, all in one process.

    python -m tests.soak [--minutes 60] [--state runs/soak] [--seed S]

Each round draws a space (recipes, sampler, early stopping, data, a network of layers put together at random), runs it, does something
bad to it (kills a trial, MLflow's writer, or the whole command; stops it; fills its disk; cuts a checkpoint short), resumes it where
that ended it, and looks whether anything is lost: every trial has ended with a name, MLflow says the same, nothing says RUNNING, and a
member of the front is exported and proven, all in this process. All rounds share one Ray cluster (Ray itself keeps a thread and a
socket of every ``ray.init`` that has ended), but those whose command is killed. Then it notes memory (as it is, and with garbage
collected), file handles, threads and processes of the process that drives. Its memory rises with every new network that it exports,
ever more slowly: torch keeps the kernels that it compiled for shapes it has seen; with one network over and over it stays.
``rounds.jsonl`` in the state folder goes on from where the last run of it ended; the curves are drawn from it, ``curves.html``.
"""
