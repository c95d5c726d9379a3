"""Weights of other projects, converted to the checkpoint format of this one."""
