"""Judges of speech: each hears samples and says what it finds. Read `base` first."""
