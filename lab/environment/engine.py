"""The container engine: the only place that speaks to it (docker SDK; Docker's socket or Podman's).

A Step runs in a container of its own: an unprivileged user, no network, no capabilities, no new privileges, a read-only
root, limits on memory, processes and CPU. Everything that is made carries the label LABEL, so that a later call finds
what a killed one left behind.

Source: docker-run(1), Docker Engine API v1.40.
"""

from __future__ import annotations

import contextlib
import io
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.types
import requests.exceptions

from lab.environment import usage
from lab.environment.following import Limits, LogReader
from lab.environment.owner import owner_is_alive, this_process
from lab.errors import EnvironmentFault, machine_fault
from lab.model import Ending, Step, StepResult
from lab.settings import Settings

LABEL = "kbuild-lab.owner"  # value: see lab.environment.owner
SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")
# the engine reads stdout and stderr through two pipes and loses their order; a log needs it
ONE_STREAM = ("sh", "-c", 'exec "$@" 2>&1', "sh")
# nobody types these keys, so that none of them means "let go of the container" (docker's default swallows Ctrl-P)
ATTACHED = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "detachKeys": "ctrl-^,ctrl-],ctrl-^,ctrl-]"}
Talk = Callable[[socket.socket, Callable[[int, int], None]], None]  # (connection, resize(rows, columns))
LOST = (requests.exceptions.RequestException, docker.errors.DockerException, ConnectionError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One bind. host, inside: absolute paths. writable is the exception. shared: mounts made inside appear outside."""

    host: Path
    inside: str
    writable: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a Step runs: image, what is bound into it, and how much it may use.

    image: id or tag. owner: value of LABEL, "" for this process.
    devices, capabilities, device_rules: empty but for the mount helper and KVM.
    """

    image: str
    owner: str = ""
    mounts: tuple[Mount, ...] = ()
    user: str = "1000:1000"
    memory_mib: int = 4096
    processes: int = 4096
    cpus: float = 0.0  # 0: all of them
    tmp_mib: int = 2048
    file_mib: int = 8192  # of one file that the step writes
    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    device_rules: tuple[str, ...] = ()
    unconfined: bool = False  # AppArmor and seccomp forbid mount(2) to the helper, capability or not
    environment: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What the engine knows of an image. id: "sha256:…", the digest of its configuration."""

    id: str
    architecture: str
    labels: tuple[tuple[str, str], ...]
    bytes: int
    tags: tuple[str, ...] = ()


class Engine:
    """A connection to an engine that has answered. Safe to use from many threads (one connection pool)."""

    def __init__(self, client: docker.DockerClient, url: str) -> None:
        self._client = client
        self.url = url
        self.version: dict[str, Any] = client.version()
        self._files: dict[tuple[str, str], bytes] = {}  # of images by id, which never change; see read_file()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go; containers that run go on."""
        self._client.close()

    # ------------------------------------------------------------------------------------------------------- images

    def image(self, name: str) -> ImageFacts | None:
        """Return the facts of an image by tag or id, None if the engine does not have it."""
        with _engine_trouble("look for an image"):
            try:
                return _facts(self._client.images.get(name))
            except docker.errors.ImageNotFound:
                return None

    def images(self, label: str) -> tuple[ImageFacts, ...]:
        """Return all images that carry the label."""
        with _engine_trouble("list images"):
            return tuple(_facts(image) for image in self._client.images.list(filters={"label": label}))

    def load(self, archive: Path) -> str:
        """Load an image archive (docker save's format) and return the image's id."""
        with _engine_trouble("load an image"), archive.open("rb") as stream:
            return str(self._client.images.load(stream)[0].id)

    def remove_image(self, name: str) -> None:
        """Remove an image and its tags; one that is gone already is no error."""
        with _engine_trouble("remove an image"), contextlib.suppress(docker.errors.ImageNotFound):
            self._client.images.remove(name, force=True)

    def read_file(self, image: str, path: str, *, limit: int = 16 << 20) -> bytes:
        """Return the bytes of one regular file of an image, without running anything of it; once asked for, it is kept.

        Raises EnvironmentFault infra.image if the image has none of that name.
        """
        if (known := self._files.get((image, path))) is not None:
            return known
        lacking = EnvironmentFault(f"image {image!r} has no regular file {path!r}", finding="infra.image")
        with _engine_trouble(f"read {path!r} from an image"):
            container = self._client.api.create_container(image, ["/nothing"], labels={LABEL: this_process()})
            try:
                chunks, _ = self._client.api.get_archive(container["Id"], path)
                data = b"".join(_bounded(chunks, limit))
            except docker.errors.NotFound as error:
                raise lacking from error
            finally:
                self._client.api.remove_container(container["Id"], force=True)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            member = archive.next()
            stream = archive.extractfile(member) if member else None
            if stream is None:
                raise lacking
            found = stream.read()
        if image.startswith("sha256:"):
            self._files[image, path] = found
        return found

    def export(self, image: str, archive: Path) -> None:
        """Write the whole root of an image into a new tar file, without running anything of it."""
        with _engine_trouble("export an image"):
            container = self._client.api.create_container(image, ["/nothing"], labels={LABEL: this_process()})
            try:
                with archive.open("xb") as out:
                    for chunk in self._client.api.export(container["Id"]):
                        out.write(chunk)
            finally:
                self._client.api.remove_container(container["Id"], force=True)

    def save(self, image: str, archive: Path) -> None:
        """Write the engine's own archive of an image (docker save's format) into a new file."""
        with _engine_trouble("save an image"), archive.open("xb") as out:
            for chunk in self._client.images.get(image).save(named=False):
                out.write(chunk)

    # ---------------------------------------------------------------------------------------------------- execution

    def execute(
        self,
        step: Step,
        place: Place,
        log: Path,
        *,
        on_line: Callable[[str], None] = lambda line: None,
        stop: threading.Event | None = None,
    ) -> StepResult:
        """Run one Step in a container of its own; its output is appended to `log` as it comes.

        Never raises for what happens to the step: a deadline, a kill, a lost engine are Endings. Raises EnvironmentFault
        only when the container cannot be made or started at all (no such image, a mount that does not exist), or when its
        output cannot be kept: who has half a log does not know how the step went.
        """
        began = time.monotonic()
        container = self._create(step, place)
        ending, status, detail, dropped, silent_s, used = Ending.ENGINE_LOST, -1, "", 0, None, usage.Usage()
        try:
            stream = self._client.api.attach(container, stdout=True, stderr=True, stream=True)
            with _engine_trouble(f"start the container of step {step.name!r}"):
                self._client.api.start(container)
            limits = Limits(deadline=began + step.deadline_s, silence_s=step.silence_s, log_bytes=step.log_bytes)
            reader = LogReader(stream, log, on_line, LOST, limits)
            with usage.watched(lambda: self._client.api.stats(container, stream=False, one_shot=True), LOST) as used:
                ours, why = reader.until_end(stop, lambda: self._kill(container))
            if isinstance(reader.trouble, OSError):
                raise machine_fault(f"keep the log of step {step.name!r}", reader.trouble, facts=(("file", str(log)),))
            if reader.trouble is not None:
                raise reader.trouble
            dropped, silent_s = reader.dropped, reader.silent_s
            ending, status, detail = self._ending(container, ours, why)
            with contextlib.suppress(*LOST, AttributeError):
                stream.close()
        except LOST as error:
            detail = str(error)[:500]
        finally:
            with contextlib.suppress(*LOST):
                self._client.api.remove_container(container, force=True, v=True)
        return StepResult(
            name=step.name,
            argv=step.argv,
            ending=ending,
            status=status,
            seconds=round(time.monotonic() - began, 3),
            detail=detail,
            dropped=dropped,
            silent_s=silent_s,
            peak_mib=used.peak_mib,
            cpu_s=used.cpu_s,
        )

    def interact(self, step: Step, place: Place, talk: Talk, *, tty: bool) -> int:
        """Run one Step that a person (or a pipe) talks to, and return its exit status; see lab.environment.terminal.

        tty: give it a terminal. Raises EnvironmentFault when the container cannot be made, or the engine is lost.
        """
        container = self._create(step, place, stdin=True, tty=tty)

        def resize(rows: int, columns: int) -> None:
            with contextlib.suppress(*LOST):
                self._client.api.resize(container, rows, columns)

        try:
            with _engine_trouble(f"talk to the container of step {step.name!r}"):
                stream = self._client.api.attach_socket(container, params=ATTACHED)
                self._client.api.start(container)
            talk(getattr(stream, "_sock", stream), resize)
            with _engine_trouble(f"wait for the container of step {step.name!r}"):
                return int(self._client.api.wait(container, timeout=30)["StatusCode"])
        finally:
            with contextlib.suppress(*LOST):
                self._client.api.remove_container(container, force=True, v=True)

    def _create(self, step: Step, place: Place, *, stdin: bool = False, tty: bool = False) -> str:
        memory = place.memory_mib << 20
        security = ["no-new-privileges"]
        if place.unconfined:
            security = ["seccomp=unconfined", "apparmor=unconfined"]
        host = self._client.api.create_host_config(
            network_mode="none",
            cap_drop=["ALL"],
            cap_add=list(place.capabilities),
            security_opt=security,
            read_only=True,
            tmpfs={"/tmp": f"rw,exec,nosuid,nodev,size={place.tmp_mib}m,mode=1777"},
            mem_limit=memory,
            memswap_limit=memory,
            pids_limit=place.processes,
            nano_cpus=int(place.cpus * 1e9) or None,
            ulimits=[
                docker.types.Ulimit(name="core", soft=0, hard=0),
                docker.types.Ulimit(name="fsize", soft=place.file_mib << 20, hard=place.file_mib << 20),
            ],
            # attach() hands the output on; a second copy in the engine's own log would only fill its disk
            log_config=docker.types.LogConfig(type="none"),
            mounts=[
                docker.types.Mount(
                    target=mount.inside,
                    source=str(mount.host),
                    type="bind",
                    read_only=not mount.writable,
                    propagation="rshared" if mount.shared else None,
                )
                for mount in place.mounts
            ],
            devices=list(place.devices),
            device_cgroup_rules=list(place.device_rules) or None,
            group_add=list(place.groups) or None,
        )
        with _engine_trouble(f"make a container for step {step.name!r}"):
            made = self._client.api.create_container(
                place.image,
                [*ONE_STREAM, *step.argv],
                user=place.user,
                working_dir=step.workdir,
                environment=dict(step.environment),
                entrypoint=[],
                hostname="lab",
                labels={LABEL: place.owner or this_process()},
                host_config=host,
                stdin_open=stdin,
                tty=tty,
            )
        return str(made["Id"])

    def _kill(self, container: str) -> None:
        with contextlib.suppress(*LOST):
            self._client.api.kill(container, "SIGKILL")

    def _ending(self, container: str, ours: Ending | None, why: str) -> tuple[Ending, int, str]:
        """Read from the container's state how it ended; ours, why: what we did to it, if anything."""
        self._client.api.wait(container, timeout=30)
        state = self._client.api.inspect_container(container)["State"]
        status = int(state.get("ExitCode", -1))
        if ours is not None:
            return ours, status, why
        if state.get("OOMKilled"):
            return Ending.OUT_OF_MEMORY, status, "the container's memory limit was hit"
        if status in (137, 143):  # SIGKILL, SIGTERM: nobody of ours sent them
            return Ending.KILLED, status, f"ended by signal {status - 128}"
        return Ending.EXITED, status, str(state.get("Error") or "")

    # ----------------------------------------------------------------------------------------------------- sweeping

    def left_behind(self) -> tuple[str, ...]:
        """Return ids of containers of ours whose owner is gone, whichever cache they worked for."""
        with _engine_trouble("list containers"):
            found = self._client.api.containers(all=True, filters={"label": LABEL})
        return tuple(str(row["Id"]) for row in found if not owner_is_alive(row["Labels"].get(LABEL, "")))

    def remove_container(self, container: str) -> None:
        """Kill and remove a container; one that is gone already is no error."""
        with _engine_trouble("remove a container"), contextlib.suppress(docker.errors.NotFound):
            self._client.api.remove_container(container, force=True, v=True)


def connect(settings: Settings) -> Engine:
    """Return the first engine that answers: settings.engine (DOCKER_HOST), then the usual sockets.

    Raises EnvironmentFault infra.engine-lost with what was tried.
    """
    environment = dict(settings.environment)
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    own = (f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock") if runtime else ()
    urls = (settings.engine,) if settings.engine else tuple(f"unix://{path}" for path in (*SOCKETS, *own))
    tried = []
    for url in urls:
        if url.startswith("unix://") and not Path(url.removeprefix("unix://")).exists():
            tried.append(f"{url}: no such socket")
            continue
        try:
            # the pool must hold a connection for each step that runs at once: attach keeps its own
            client = docker.DockerClient(base_url=url, timeout=120, max_pool_size=64)
        except LOST as error:
            tried.append(f"{url}: {_plain(error)}")
            continue
        try:
            return Engine(client, url)
        except LOST as error:
            client.close()
            tried.append(f"{url}: {_plain(error)}")
    raise EnvironmentFault(
        "no container engine answers",
        finding="infra.engine-lost",
        facts=tuple(("tried", text) for text in tried),
        hint="`lab doctor --fix` installs and starts one; DOCKER_HOST names one elsewhere",
    )


@contextlib.contextmanager
def _engine_trouble(doing: str) -> Iterator[None]:
    """Turn the SDK's errors into ours."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise EnvironmentFault(f"cannot {doing}: the image is gone", facts=(("engine", _plain(error)),)) from error
    except LOST as error:
        finding = "infra.disk-full" if "no space left" in str(error).lower() else "infra.engine-lost"
        raise EnvironmentFault(f"cannot {doing}", finding=finding, facts=(("engine", _plain(error)),)) from error


def _plain(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _facts(image: Any) -> ImageFacts:
    attributes = image.attrs
    labels = attributes.get("Config", {}).get("Labels") or attributes.get("Labels") or {}
    return ImageFacts(
        id=str(image.id),
        architecture=str(attributes.get("Architecture", "")),
        labels=tuple(sorted(labels.items())),
        bytes=int(attributes.get("Size", 0)),
        tags=tuple(image.tags),
    )


def _bounded(chunks: Sequence[bytes] | Iterator[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise EnvironmentFault(f"a file of an image is larger than {limit} bytes")
        yield chunk
