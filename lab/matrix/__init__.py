"""YAML matrix file → Matrix (read) → Cells (expand)."""
