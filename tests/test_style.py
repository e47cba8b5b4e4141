"""Linters and type checker are tests: what they say is enforced, here and in CI."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["-m", "ruff", "check", "."], id="ruff check"),
        pytest.param(["-m", "ruff", "format", "--check", "."], id="ruff format"),
        pytest.param(["-m", "mypy"], id="mypy --strict"),
    ],
)
def test_the_tree_is_clean(words, repository):
    done = subprocess.run([sys.executable, *words], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_function_needs_scrolling(repository):
    import ast

    long = [
        f"{path.relative_to(repository)}:{node.lineno}: {node.name}()"
        for path in sorted((repository / "lab").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    assert not long, "is a noun missing? " + ", ".join(long)
