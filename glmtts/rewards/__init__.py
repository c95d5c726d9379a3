"""Rewards of reinforcement learning: judges whose value is to be raised. Read `base` first."""
