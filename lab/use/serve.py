"""`lab serve`: a site that `lab site` wrote, over HTTP, for a look from another machine through a tunnel. Only reads.

Nothing but the plain files of the site is handed out: no listings, no hidden files, nothing that a symlink leads out to. On a
loopback address it only answers to names of this machine: otherwise any web page that its user opens could read the results
through a name that is made to point here (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from lab.errors import EnvironmentFault, UsageError
from lab.report.html.write import MARK
from lab.report.page import open_regular

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8"}
TIMEOUT_S = 30.0


def opened(folder: Path, host: str, port: int) -> Server:
    """Return a server that listens; close it. port: 0 for any that is free.

    Raises UsageError if that is no site, or no address; EnvironmentFault if nobody may listen there.
    """
    if not (folder / MARK).is_file():
        raise UsageError(f"no site in {str(folder)!r}", hint="`lab site -o DIR` writes one")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise UsageError(f"{host!r} is no address of this machine") from error
    try:
        return Server(folder.absolute(), family, str(address[0]), port)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot listen on {host} port {port}: {error.strerror}", hint="--port 0 takes one that is free"
        ) from error


class Server(ThreadingHTTPServer):
    """The server; serve_forever() answers. folder: of the site, looked at anew for each request: it may be replaced."""

    def __init__(self, folder: Path, family: int, host: str, port: int) -> None:
        self.folder = folder
        self.loopback = is_loopback(host)
        self.address_family = socket.AddressFamily(family)
        super().__init__((host, port), Pages)

    @property
    def url(self) -> str:
        """Where it is."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


class Pages(BaseHTTPRequestHandler):
    """One request. Methods other than GET and HEAD are answered with 501 by the library."""

    server: Server
    server_version, sys_version = "kbuild-lab", ""
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        """Hand a file out."""
        self.answer(lambda file: shutil.copyfileobj(file, self.wfile))

    def do_HEAD(self) -> None:
        """Tell what GET would hand out."""
        self.answer(lambda file: None)

    def answer(self, body: Callable[[BinaryIO], None]) -> None:
        """Send a file's head and, if that is asked for, what is in it."""
        if self.server.loopback and not is_here(self.headers.get("Host", "")):
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST, explain="this is no name of this machine")
        name = name_in(self.path)
        descriptor = open_regular(self.server.folder, name) if name else None
        if descriptor is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        with open(descriptor, "rb") as file:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", TYPES.get(Path(name).suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-cache")
            self.end_headers()
            body(file)
        return None

    def log_message(self, *words: object) -> None:
        """Say nothing: what strangers ask for is not for this terminal."""


def name_in(target: str) -> str:
    """Return the file that is asked for, relative to the site; "" if it can be none of its files."""
    try:
        path = unquote(urlsplit(target).path, errors="surrogateescape")
    except ValueError:
        return ""
    name = path.removeprefix("/")
    name += "index.html" if not name or name.endswith("/") else ""
    return "" if any(part.startswith(".") or not part for part in name.split("/")) else name


def is_here(host: str) -> bool:
    """Whether what a client calls us (Host) is a name of this machine that nobody else can point here; or says nothing."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is None or name == "localhost" or is_loopback(name)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
