"""What only a machine can cause is its fault wherever it comes up, and what anybody can cause is not."""

import errno
import os

import pytest

from lab.errors import EnvironmentFault, machine_fault, understood


def full():
    """Return what a full disk really raises."""
    with pytest.raises(OSError, match="No space") as told, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    return told.value


@pytest.mark.parametrize(
    ("number", "finding"),
    [
        (errno.ENOSPC, "infra.disk-full"),
        (errno.EDQUOT, "infra.disk-full"),
        (errno.EROFS, "infra.read-only"),
        (errno.EIO, "infra.io-error"),
        (errno.ESTALE, "infra.io-error"),
        (errno.ENFILE, "infra.host"),
        (errno.EFBIG, "infra.host"),
        (errno.ENOMEM, "infra.out-of-memory"),
    ],
)
def test_an_error_of_the_machine_that_nobody_caught_is_understood(number, finding):
    fault = understood(OSError(number, os.strerror(number), "/cache/locks/x"))
    assert isinstance(fault, EnvironmentFault)
    assert fault.finding == finding
    assert fault.message == f"cannot use '/cache/locks/x': {os.strerror(number)}"
    assert bool(fault.hint) == (finding == "infra.disk-full")


def test_memory_that_runs_out_is_the_machines_fault():
    assert understood(MemoryError()).finding == "infra.out-of-memory"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no"),
        PermissionError(errno.EACCES, "no"),
        OSError(errno.EMFILE, "no"),
        KeyError("x"),
    ],
)
def test_what_a_bug_can_cause_stays_what_it_is(error):
    assert understood(error) is error


def test_what_was_being_done_is_told():
    fault = machine_fault("keep the evidence", full(), facts=(("folder", "/r"),), hint="free some space")
    assert str(fault) == ("cannot keep the evidence: No space left on device\n  folder: /r\n  hint:   free some space")
    other = machine_fault(
        "keep it", OSError(errno.EACCES, "Permission denied"), otherwise="infra.filesystem", hint="free it"
    )
    assert (other.finding, other.hint) == ("infra.filesystem", "")
