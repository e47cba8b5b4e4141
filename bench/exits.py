"""What each process used, heard from the kernel as it ends: CPU seconds by the name of the program. Linux, as root.

Process accounting (acct(2)) counts in hundredths of a second, which is more than most processes of a kernel build take;
taskstats has the scheduler's nanoseconds. An emulated program has its own name, not that of its emulator.

Source: Documentation/accounting/taskstats.rst; include/uapi/linux/taskstats.h, genetlink.h, netlink.h.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

NETLINK_GENERIC, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 16, 16, 3, 1, 2
TASKSTATS_CMD_GET, TASKSTATS_CMD_ATTR_REGISTER_CPUMASK = 1, 3
TASKSTATS_TYPE_STATS, TASKSTATS_TYPE_AGGR_PID = 3, 4
NLM_F_REQUEST = 1
SETTLED_S = 1.0  # what ended just before is heard, too
PROBE = "sleep"  # a program whose name is looked for in the first message
# Around the name, whose place differs between kernels. Before it: cpu_run_virtual_total (u64, ns); behind it: pid, ppid (u32).
BEFORE_NAME, AFTER_NAME = struct.Struct("=Q"), struct.Struct("=48xII")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """One thread that ended. name: the program's, at most 15 characters."""

    name: str
    pid: int
    parent: int
    cpu_s: float


class Exits:
    """Hears of every process that ends on this machine until closed. Raises OSError where the kernel does not tell."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE: a build's exits come in bursts
        self._socket.bind((0, 0))
        self._socket.settimeout(10)
        self._send(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")
        family = dict(_attributes(self._socket.recv(65536)[20:]))[CTRL_ATTR_FAMILY_ID]
        cpus = f"0-{(os.cpu_count() or 1) - 1}".encode() + b"\0"
        self._send(struct.unpack("=H", family[:2])[0], TASKSTATS_CMD_GET, TASKSTATS_CMD_ATTR_REGISTER_CPUMASK, cpus)
        self._name_at = self._calibrated()
        self._found: list[Exit] = []
        self.lost = 0
        self._stop = threading.Event()
        self._socket.settimeout(0.5)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> tuple[Exit, ...]:
        """Return all that was heard."""
        time.sleep(SETTLED_S)
        self._stop.set()
        self._thread.join()
        self._socket.close()
        return tuple(self._found)

    def _send(self, family: int, command: int, attribute: int, value: bytes) -> None:
        told = struct.pack("=HH", len(value) + 4, attribute) + value + bytes(-len(value) % 4)
        body = struct.pack("=BBH", command, 1, 0) + told
        self._socket.send(struct.pack("=IHHII", len(body) + 16, family, NLM_F_REQUEST, 1, 0) + body)

    def _calibrated(self) -> int:
        """Return where the name stands: kernels put it at different places, and the version does not say which."""
        pid = subprocess.Popen([PROBE, "0"])
        pid.wait()
        while True:
            for stats in _statistics(self._socket.recv(65536)):
                at = stats.find(PROBE.encode() + b"\0")
                if at >= 0 and AFTER_NAME.unpack_from(stats, at)[0] == pid.pid:
                    return at

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError:  # ENOBUFS: more than were read in time
                self.lost += 1
                continue
            for stats in _statistics(data):
                pid, parent = AFTER_NAME.unpack_from(stats, self._name_at)
                ran_ns = BEFORE_NAME.unpack_from(stats, self._name_at - BEFORE_NAME.size)[0]
                name = stats[self._name_at : self._name_at + 16].partition(b"\0")[0].decode("utf-8", "replace")
                self._found.append(Exit(name=name, pid=pid, parent=parent, cpu_s=ran_ns / 1e9))


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found.append((kind & 0x3FFF, data[4:length]))
        data = data[(length + 3) // 4 * 4 :]
    return found


def _statistics(message: bytes) -> list[bytes]:
    inner = (value for kind, value in _attributes(message[20:]) if kind == TASKSTATS_TYPE_AGGR_PID)
    return [value for one in inner for kind, value in _attributes(one) if kind == TASKSTATS_TYPE_STATS]


def below(root: str, exits: tuple[Exit, ...]) -> list[tuple[str, int, float]]:
    """Return (program, processes, CPU seconds) of all descendants of the processes called `root`, dearest first."""
    counts: Counter[str] = Counter()
    cpu: defaultdict[str, float] = defaultdict(float)
    inside: dict[int, bool] = {}  # of the process that next ends with a pid: the kernel gives pids out again
    for one in reversed(exits):
        inside[one.pid] = one.name == root or inside.get(one.parent, False)
        if inside[one.pid]:
            counts[one.name] += 1
            cpu[one.name] += one.cpu_s
    return sorted(((name, counts[name], cpu[name]) for name in counts), key=lambda row: -row[2])
