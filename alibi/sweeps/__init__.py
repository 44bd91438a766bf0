"""Sweeps: each job in a process of its own, and at the end the list of what became of all.

Hydra's launchers end a sweep, or lose count, when a job's process is killed or exits: joblib takes all its workers
down with one, submitit stops listening at the first. So a job is trained in a child of whatever process the launcher
gives it, and what a job ends with, the launcher sees as a success; the truth is a small file in a folder that this
sweep alone has (in hydra.sweep.dir, where others may be), which Hydra's callback at the end, `Summary`, reads.
"""

from alibi.sweeps.callback import Summary
from alibi.sweeps.job import is_sweep, run_job
from alibi.sweeps.outcomes import Outcome, Sweep, summary_text

__all__ = ["Outcome", "Summary", "Sweep", "is_sweep", "run_job", "summary_text"]
