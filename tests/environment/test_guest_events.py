"""What qemu tells of its guest is kept; whatever answers on the socket, the block ends and the rows are bounded."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from lab.environment import guest_events
from lab.errors import EnvironmentFault

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": []}}
ANSWERS = {
    "qmp_capabilities": {},
    "query-version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""},
    "query-status": {"running": True, "status": "running"},
    "human-monitor-command": "RIP=ffffffff81000123",
    "quit": {},
    "cont": {},
}
RESET = {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}, "timestamp": {"seconds": 1}}


class FakeQemu:
    """Speaks QMP on a socket of its own. said: what is sent after the negotiation. asked: the commands that came.

    lost: so many who come are sent away before they are greeted.
    """

    def __init__(self, place, *said, answers=None, greeting=GREETING, stay=False, lost=0):
        self.asked, self.over, self._lost = [], threading.Event(), lost
        self._said, self._answers, self._greeting, self._stay = said, {**ANSWERS, **(answers or {})}, greeting, stay
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen()
        self._listener.settimeout(20)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        for _ in range(self._lost):
            self._listener.accept()[0].close()
        with contextlib.suppress(OSError), self._listener, self._listener.accept()[0] as peer:
            if self._greeting is not None:
                peer.sendall(self._bytes(self._greeting))
            for request in self._requests(peer):
                self.asked.append(request["execute"])
                answer = self._answers[request["execute"]]
                peer.sendall(self._bytes({"return": answer} | {key: request[key] for key in ("id",) if key in request}))
                if request["execute"] in ("query-status", "cont"):
                    for one in self._said:
                        peer.sendall(self._bytes(one))
                    if not self._stay:
                        return
                if request["execute"] == "quit":
                    return
            self.over.wait(20)

    @staticmethod
    def _requests(peer):
        """Yield what the client asks: objects one after the other, with nothing between them."""
        text, decoder = "", json.JSONDecoder()
        while received := peer.recv(4096):
            text += received.decode()
            while text:
                try:
                    request, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                yield request

    @staticmethod
    def _bytes(what):
        return what if isinstance(what, bytes) else json.dumps(what).encode() + b"\n"

    def join(self):
        self.over.set()
        self._thread.join(10)


def follow(folder, *said, seconds=5.0, until=lambda qemu: False, **how):
    """Follow a fake qemu until it goes, `until` is true, or for some seconds; return it and the rows."""
    how = {"deadline_s": 60.0, **how}
    wanted = {"deadline_s": how.pop("deadline_s"), "held": how.pop("held", False)}
    with guest_events.followed(folder / "qmp", folder / "qmp.jsonl", **wanted):
        qemu = FakeQemu(folder / "qmp", *said, **how)
        end = time.monotonic() + seconds
        while time.monotonic() < end and qemu._thread.is_alive() and not until(qemu):
            time.sleep(0.01)
    qemu.join()
    return qemu, rows(folder)


def rows(folder):
    return [json.loads(line) for line in (folder / "qmp.jsonl").read_text().splitlines()]


def named(told, key):
    return [row[key] for row in told if key in row]


def test_events_and_the_version_are_kept_with_their_times(tmp_path):
    _, told = follow(tmp_path, RESET)
    assert told[0]["link"] == "up"
    assert named(told, "asked")[0] == "query-version"
    assert [(row["event"], row["data"]["reason"]) for row in told if "event" in row] == [("SHUTDOWN", "guest-reset")]
    assert all(row["at_s"] >= 0 for row in told)


def test_a_qemu_that_makes_no_socket_is_a_row(tmp_path):
    with guest_events.followed(tmp_path / "qmp", tmp_path / "qmp.jsonl", deadline_s=60.0):
        pass
    assert [row["link"] for row in rows(tmp_path)] == ["none"]


@pytest.mark.parametrize(
    "greeting",
    [None, b"", b"no JSON\n", b"[1]\n", b"{}\n", b"x" * (2 << 20)],
    ids=["none", "empty", "text", "list", "empty object", "long"],
)
def test_what_does_not_greet_as_qemu_does_is_let_go(tmp_path, greeting):
    _, told = follow(tmp_path, greeting=greeting, seconds=0.3)
    assert named(told, "link") == ["lost"]


@pytest.mark.parametrize("said", [b"no JSON\n", b"\xff\xfe\n", b"{}\n", b"y" * (2 << 20), b'{"event": 5}\n'])
def test_what_is_no_event_ends_the_connection_or_is_passed_over(tmp_path, said):
    _, told = follow(tmp_path, said, seconds=0.5)
    assert told[0]["link"] == "up"
    assert "SHUTDOWN" not in named(told, "event")


def test_a_guest_that_makes_qemu_tell_of_everything_fills_nothing(tmp_path):
    panics = b'{"event": "GUEST_PANICKED", "data": {"action": "run"}}\n' * (guest_events.EVENTS_LIMIT + 5000)
    _, told = follow(
        tmp_path, panics, stay=True, seconds=20.0, until=lambda qemu: "cut" in (tmp_path / "qmp.jsonl").read_text()
    )
    assert named(told, "event").count("GUEST_PANICKED") == guest_events.ROWS_OF_A_NAME
    assert "cut" in named(told, "link")
    assert named(told, "dropped")[0]["GUEST_PANICKED"] > 1000


def test_an_event_of_many_names_or_of_much_data_is_bounded(tmp_path):
    many = b"".join(b'{"event": "E%d"}\n' % number for number in range(3 * guest_events.ROWS_LIMIT))
    big = {"event": "BIG", "data": {"text": "z" * 500_000}}
    _, told = follow(tmp_path, big, many, seconds=20.0)
    assert len(told) <= guest_events.ROWS_LIMIT
    assert (tmp_path / "qmp.jsonl").stat().st_size < guest_events.ROWS_LIMIT * 200
    assert next(row for row in told if row.get("event") == "BIG")["cut"] is True


def test_a_link_in_place_of_the_socket_is_not_followed(tmp_path):
    other = tmp_path / "other"
    qemu = FakeQemu(other, RESET)
    (tmp_path / "qmp").symlink_to(other)
    with guest_events.followed(tmp_path / "qmp", tmp_path / "qmp.jsonl", deadline_s=60.0):
        time.sleep(0.2)
    assert qemu.asked == []
    assert named(rows(tmp_path), "link") == ["none"]


def test_a_guest_that_told_of_its_panic_and_goes_on_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(guest_events, "PANIC_GRACE_S", 0.1)
    qemu, told = follow(tmp_path, {"event": "GUEST_PANICKED", "data": {"action": "run"}}, stay=True, seconds=10.0)
    assert qemu.asked[-1] == "quit"
    assert named(told, "asked")[-1] == "quit"


@pytest.mark.parametrize(("status", "ended"), [("internal-error", True), ("paused", False)])
def test_a_guest_that_is_stopped_for_good_is_ended(tmp_path, status, ended):
    # the first answer, before the event, is the same: only the event makes the lab ask again
    stopped = {"query-status": {"running": False, "status": status}}
    qemu, _ = follow(tmp_path, {"event": "STOP"}, answers=stopped, stay=True, seconds=1.5 if not ended else 10.0)
    assert ("quit" in qemu.asked) is ended


def test_shortly_before_the_deadline_the_registers_are_asked_for(tmp_path):
    _, told = follow(
        tmp_path, stay=True, deadline_s=0.2, seconds=10.0, until=lambda qemu: "human-monitor-command" in qemu.asked
    )
    assert [row["answer"] for row in told if row.get("asked") == "human-monitor-command"] == ["RIP=ffffffff81000123"]


def test_a_guest_that_waits_is_let_go_once_qemu_is_listened_to(tmp_path):
    qemu, told = follow(tmp_path, RESET, held=True)
    assert qemu.asked == ["qmp_capabilities", "query-version", "cont"]
    assert named(told, "link") == ["up"]
    assert named(told, "event") == ["SHUTDOWN"]


def test_a_guest_that_waits_is_let_go_by_the_next_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(guest_events, "AGAIN_S", 0.01)
    _, told = follow(tmp_path, RESET, held=True, lost=3)
    assert named(told, "link") == ["lost", "lost", "lost", "up"]
    assert named(told, "event") == ["SHUTDOWN"]


def test_a_guest_that_was_never_let_go_is_a_row(tmp_path, monkeypatch):
    for name, value in {"AGAIN_S": 0.01, "ANSWER_S": 0.05, "TRIES": 3}.items():
        monkeypatch.setattr(guest_events, name, value)
    qemu, told = follow(tmp_path, greeting=None, held=True, seconds=0.5)
    assert qemu.asked == []
    assert named(told, "link") == ["lost", "lost", "lost", "held"]


def test_a_guest_that_runs_before_the_answer_comes_was_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(guest_events, "ANSWER_S", 0.2)
    late = {"return": {"id": "not this one"}}
    _, told = follow(tmp_path, {"event": "RESUME"}, RESET, held=True, answers={"cont": late}, stay=True, seconds=1.0)
    assert "held" not in named(told, "link")


def test_a_path_longer_than_a_sockets_address_may_be_is_no_matter(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    with guest_events.followed(deep / "qmp", deep / "qmp.jsonl", deadline_s=60.0):
        qemu = FakeQemu("qmp", RESET)
        qemu._thread.join(10)
    assert named(rows(deep), "event") == ["SHUTDOWN"]


def test_what_qemu_noted_is_kept_up_to_a_limit_and_no_link_is_followed(tmp_path):
    (tmp_path / "notes").write_bytes(b"a" * 100)
    guest_events.kept(tmp_path / "notes", tmp_path / "kept", 10)
    assert (tmp_path / "kept").read_bytes() == b"a" * 10
    (tmp_path / "link").symlink_to(tmp_path / "notes")
    for name in ("link", "nothing", "."):
        guest_events.kept(tmp_path / name, tmp_path / "other", 10)
    assert not (tmp_path / "other").exists()


def test_rows_that_cannot_be_kept_are_the_machines_fault(tmp_path):
    with pytest.raises(EnvironmentFault) as caught, guest_events.followed(tmp_path / "qmp", tmp_path, deadline_s=1.0):
        pass
    assert caught.value.finding == "infra.host"


def test_rows_that_found_no_room_are_the_machines_fault(tmp_path):
    with (
        pytest.raises(EnvironmentFault, match="keep what qemu tells") as caught,
        guest_events.followed(tmp_path / "qmp", Path("/dev/full"), deadline_s=60.0),
    ):
        pass
    assert caught.value.finding == "infra.disk-full"


def test_notes_that_found_no_room_are_the_machines_fault(tmp_path):
    (tmp_path / "notes").write_bytes(b"Triple fault\n")
    with pytest.raises(EnvironmentFault) as caught:
        guest_events.kept(tmp_path / "notes", Path("/dev/full"), 10)
    assert caught.value.finding == "infra.disk-full"
