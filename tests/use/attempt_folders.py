"""An attempt's evidence folder as a run of the lab leaves it, made by hand: a failed compilation."""

import json

from lab.model import AttemptResult, Finding, Outcome, Result, Severity, Span
from lab.results import store
from lab.tables import DATA
from lab.use import record as records

DIGEST = "sha256:" + "0123456789abcdef" * 4
PATCH = "--- a/lib/ctype.c\n+++ b/lib/ctype.c\n@@ -1 +1 @@\n-old\n+int broken = ;\n"
LOG = (
    "  CC      lib/ctype.o\n/src/lib/ctype.c:9:18: error: expected expression before ';' token\n"
    "make[2]: *** [/src/scripts/Makefile.build:250: lib/ctype.o] Error 1\nmake: *** [Makefile:234: __sub-make] Error 2\n"
)
FINDING = Finding(
    id="build.compiler",
    severity=Severity.FAIL,
    title="expected expression",
    message="lib/ctype.c:9: expected expression before ';' token",
    where=Span(file="build.txt", first=2, last=2),
    blame="lib/ctype.o",
)


def step(name, *argv):
    return {"name": name, "argv": list(argv), "workdir": "/out", "deadline_s": 60.0, "environment": [["PATH", "/bin"]]}


def image(name):
    return {
        "name": f"kbuild-lab/{name}:0123456789ab",
        "id": DIGEST,
        "suite": "bookworm",
        "debian_arch": "amd64",
        "wanted": ["gcc-12", "make"],
        "packages": {"gcc-12": "12.2.0-14", "make": "4.3-4.1"},
        "snapshot": "",
        "releases": {"bookworm": "Sat, 10 May 2025 09:22:12 UTC"},
    }


def record(rows, filesystem="ext4-128", **changes):
    row = rows.filesystem[filesystem]
    made = {
        "schema_version": 1,
        "lab_version": "0.1.0",
        "cell": "x86_64-gcc-12-ext4-128",
        "axes": {"filesystem": filesystem},
        "attempt": 1,
        "granularity_ns": 1_000_000_000,
        "kernel_version": "6.1.1",
        "source_origin": "linux-source-6.1 6.1.1-1",
        "image": image("build"),
        "container": {"user": "1000:1000", "memory_mib": 2048, "processes": 512, "tmp_mib": 256},
        "source": {"kind": "debian", "package": "linux-source-6.1", "version": "6.1.1-1", "sha256": "ab" * 32},
        "patches": [{"name": "broken.patch", "text": PATCH}],
        "filesystem": records.filesystem_recipe(row, rows.base_of(row)),
        "mount": image("mount"),
        "wrappers": [{"name": "cmp", "text": (DATA / "bin/cmp").read_text()}],
        "kconfig": [{"name": "002-fragment", "text": "CONFIG_MODULES=y\n"}],
        "steps": [step("base", "make", "tinyconfig"), step("olddefconfig", "make", "x"), step("build", "make", "-k")],
        "boot": None,
    }
    return json.loads(json.dumps({**made, **changes}))


def boot():
    return {
        "image": image("boot"),
        "guest": image("guest"),
        "container": {"user": "1000:1000", "memory_mib": 1024, "processes": 512, "tmp_mib": 256},
        "step": step("boot", "qemu-system-x86_64"),
        "kernel": "arch/x86/boot/bzImage",
        "init": "#!/bin/sh\n",
        "applets": ["sh", "insmod"],
        "kvm": False,
    }


def result(number=1, outcome=Outcome.FAIL, findings=(FINDING,)):
    passed = outcome is Outcome.PASS
    return AttemptResult(
        number=number,
        outcome=outcome,
        reason="built" if passed else "build.compiler: it does not compile",
        findings=() if passed else tuple(findings),
        seconds=12.5,
    )


def write_attempt(run, made, results=(), rate=None):
    """Write a cell's attempts into a run's folder; return the folder of the first."""
    cell = run / made["cell"]
    results = results or (result(),)
    for one in results:
        folder = cell / str(one.number)
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(made))
        (folder / "config.txt").write_text("CONFIG_MODULES=y\n")
        (folder / "build.txt").write_text(LOG)
        store.write(folder / "result.json", one)
    outcome = Outcome.FAIL if any(one.outcome is Outcome.FAIL for one in results) else results[0].outcome
    store.write(cell / "result.json", Result(cell=made["cell"], outcome=outcome, reason="", rate=rate))
    return cell / str(results[0].number)
