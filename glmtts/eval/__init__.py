"""Evaluation: cases, a model or a folder of sound, judges, figures. Read `run.evaluate` first."""
