"""Layers that know nothing of speech."""
