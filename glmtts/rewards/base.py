"""The contract of a reward is that of a judge; this is where trainers import it from."""

from glmtts.judges.base import Failed, Judge, Sample, Score, Verdict

__all__ = ["Failed", "Judge", "Sample", "Score", "Verdict"]
