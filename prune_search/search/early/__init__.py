"""Who goes on: rules that stop a trial before its end, one file each. They know neither Ray nor MLflow.

A rule is told every standing of every trial that reached one of its stages (:meth:`Rule.enter`), asked whether a trial
shall stop there (:meth:`Rule.verdict`), and told how trials finished (:meth:`Rule.finish`). Told again in any order it
answers alike, so nothing of it is saved: a resumed search tells it again what the trials' own reports say.
"""
