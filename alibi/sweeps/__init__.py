"""Hydra sweeps: each job runs in a process of its own, and the sweep ends with a list of what became of its jobs.

Hydra's launchers end a sweep, or lose count, when a job's process is killed or exits: joblib ends all its workers with
one, submitit stops listening at the first. So a job is trained in a child of whatever process the launcher gives it,
and the launcher sees every job succeed. What became of a job is a small file in a folder of this sweep (below
hydra.sweep.dir, which sweeps may share); Hydra's callback at the end, `Summary`, reads them.
"""

from alibi.sweeps.callback import Summary
from alibi.sweeps.job import is_sweep, run_job
