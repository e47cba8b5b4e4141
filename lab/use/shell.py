"""`lab shell`: a prompt where a cell is built, with its image, source, filesystem, variables and command lines at hand."""

from __future__ import annotations

import functools
import os
import shlex
import threading
from collections.abc import Iterable
from pathlib import Path

from lab import kbuild
from lab.environment import engine as engines
from lab.environment import terminal
from lab.environment.filesystem import Granularity
from lab.events import Event, JobProgress, Note, Sink
from lab.model import Cell, Step
from lab.settings import Settings
from lab.tables import Tables
from lab.use import crew, sweep
from lab.use.attempt import Attempt
from lab.use.bench import laid_out

NO_DEADLINE_S = 1e9
GREETING = "greeting"
RC = "bashrc"


def enter(
    cell: Cell, settings: Settings, tables: Tables, sink: Sink, *, stdin: int, stdout: int, term: str = "dumb"
) -> int:
    """Prepare the cell as `lab run` would, run a shell in its build container and return the shell's exit status.

    stdin, stdout: descriptors; terminals get a prompt, a pipe is read as a script. term: TERM of the caller. The output
    directory goes when the shell ends. Raises EnvironmentFault and Untestable as preparing a cell does.
    """
    with engines.connect(settings) as engine:
        sweep.dead_work(settings, engine, sink)
        bench, inputs = crew.prepared(cell, settings, tables, engine, _as_notes(sink), threading.Event())
        with laid_out(bench, f"shell-{cell.id}-{os.getpid()}", cell, inputs) as (place, granularity):
            attempt = Attempt(bench, cell, 1, "shell", inputs, place.folder)
            attempt.decide()
            prompt = terminal.is_terminal(stdin, stdout)
            _lay_out(place.lab, attempt, granularity)
            return engine.interact(
                _shell(attempt.build_step, term=term, prompt=prompt),
                attempt.build_place(place),
                functools.partial(terminal.talk, stdin=stdin, stdout=stdout, terminal=prompt),
                tty=prompt,
            )


def _as_notes(sink: Sink) -> Sink:
    """Return a sink that hands progress on as lines: there is no live view beside a prompt."""

    def told(event: Event) -> None:
        sink(Note(at_s=event.at_s, text=f"{event.key}: {event.detail}") if isinstance(event, JobProgress) else event)

    return told


def _shell(build: Step, *, term: str, prompt: bool) -> Step:
    """Return the step: variables are the build's own, and TERM for the prompt's sake."""
    words = ("bash", "--rcfile", f"{kbuild.LAB}/{RC}", "-i") if prompt else ("bash",)
    environment = (*build.environment, ("TERM", term)) if prompt else build.environment
    return Step(
        name="shell",
        argv=words,
        workdir=kbuild.OUT,
        deadline_s=NO_DEADLINE_S,
        log="shell.txt",
        environment=environment,
    )


def _lay_out(lab: Path, attempt: Attempt, granularity: Granularity) -> None:
    """Put the commands, the greeting and the prompt's settings where /lab shows them."""
    commands = {
        "lab-configure": script(attempt.configure_steps),
        "lab-build": script([attempt.build_step]),
    }
    for name, text in commands.items():
        (lab / "bin" / name).write_text(text)
        (lab / "bin" / name).chmod(0o755)
    cell, tree = attempt.cell, attempt.inputs.tree
    lines = (
        f"{cell.id}: linux {tree.version} in {kbuild.SOURCE} (read-only), O={kbuild.OUT} on {cell.filesystem}",
        f"file times are exact to {granularity.effective_ns} ns; {kbuild.OUT} goes when you leave",
        "lab-configure  makes .config, lab-build  builds; both show the lines they run and pass them on as they are",
        f"cat {kbuild.BIN}/lab-build  to copy and change them",
    )
    (lab / GREETING).write_text("\n".join(lines) + "\n")
    # a name of the matrix is data: it reaches the prompt through a variable, which bash does not expand a second time
    rc = f"cat {kbuild.LAB}/{GREETING}\nlab_cell={shlex.quote(cell.id)}\nPS1='${{lab_cell}} \\w \\$ '\n"
    (lab / RC).write_text(rc)


def script(steps: Iterable[Step]) -> str:
    """Return a script that runs steps one after the other, each line shown before it runs, until one fails."""
    lines = ["#!/bin/sh", "# What `lab run` runs in this cell; its variables are already set.", "set -ex"]
    for step in steps:
        lines += [f"# {step.name}", f"cd {shlex.quote(step.workdir)}", shlex.join(step.argv)]
    return "\n".join(lines) + "\n"
