"""A Debian archive of a few tiny packages, as its tests make it: real .deb files, a signed index, served on loopback."""

import contextlib
import datetime
import functools
import hashlib
import http.server
import subprocess
import threading


def package(folder, name, version):
    """Make one .deb file of architecture all with nothing but a text in it."""
    root = folder / f"{name}-{version}"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/share" / name).mkdir(parents=True)
    (root / "usr/share" / name / "version").write_text(f"{version}\n")
    who = "Maintainer: Nobody <nobody@example.org>"
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\n{who}\nDescription: {name}\n"
    (root / "DEBIAN/control").write_text(control)
    deb = folder / f"{name}_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(root), str(deb)], check=True, capture_output=True)
    return deb, control


def archive(base, suite, packages, sign, work, valid_days=7):
    """Make an archive's dists/ and pool/ below `base`. packages: (name, version) pairs. sign: of Key.

    valid_days: since the first day of 2022.
    """
    (base / "pool").mkdir(parents=True, exist_ok=True)
    until = datetime.datetime(2022, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=valid_days)
    index = ""
    for name, version in packages:
        deb, control = package(work, name, version)
        data = deb.read_bytes()
        (base / "pool" / deb.name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        index += f"{control}Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {digest}\n\n"
    dists = base / "dists" / suite
    (dists / "main/binary-amd64").mkdir(parents=True)
    (dists / "main/binary-amd64/Packages").write_text(index)
    digest = hashlib.sha256(index.encode()).hexdigest()
    release = (
        f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\nDate: Sat, 01 Jan 2022 00:00:00 UTC\n"
        f"Valid-Until: {until:%a, %d %b %Y} 00:00:00 UTC\nArchitectures: amd64 all\nComponents: main\n"
        f"SHA256:\n {digest} {len(index)} main/binary-amd64/Packages\n"
    )
    (dists / "InRelease").write_bytes(sign(release.encode()))


class Key:
    """A throw-away key."""

    def __init__(self, home):
        self.home, self.keyring = home, home / "keyring.gpg"
        home.mkdir(mode=0o700)
        self.gpg("--quick-gen-key", "--passphrase", "", "Nobody <nobody@example.org>", "ed25519", "sign", "never")
        self.keyring.write_bytes(self.gpg("--export"))

    def gpg(self, *words, data=b""):
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--no-tty", "--pinentry-mode", "loopback", *words]
        return subprocess.run(argv, input=data, check=True, capture_output=True).stdout

    def sign(self, data):
        return self.gpg("--clearsign", "--digest-algo", "SHA512", data=data)

    def close(self):
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@contextlib.contextmanager
def served(folder, handler=None):
    """Serve a folder on loopback and yield its URL."""
    made = functools.partial(handler or _Quiet, **({} if handler else {"directory": str(folder)}))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), made) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
