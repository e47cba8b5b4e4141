"""Verdicts, and the store of results on disk."""
