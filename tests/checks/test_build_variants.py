"""Every text that kbuild and its tools are known to fail with, by what its first finding must say.

tests/fixtures/build/variants/*.txt hold many small logs: "==== name", then "key: value" lines (id, exit, message, or a key
of the finding's data; an empty value means that nothing is known), then "----" and the log. Builds that went well: only `exit`.
"""

import re
from pathlib import Path

import pytest

from lab.model import Severity
from lab.use import check

FOLDER = Path(__file__).parent.parent / "fixtures" / "build" / "variants"


def variants():
    for path in sorted(FOLDER.glob("*.txt")):
        for block in re.split(r"^==== ", path.read_text(), flags=re.M)[1:]:
            name, _, rest = block.partition("\n")
            head, _, log = rest.partition("----\n")
            wanted = dict(line.split(":", 1) for line in head.splitlines())
            yield pytest.param({key: value.strip() for key, value in wanted.items()}, log, id=f"{path.stem}: {name}")


def said(finding, key):
    value = finding.data.get(key, "")
    return {"id": finding.id, "because": "\n".join(finding.because)}.get(key, "" if value in (0, "") else str(value))


@pytest.mark.parametrize(("wanted", "text"), list(variants()))
def test_the_first_finding_names_what_happened(wanted, text, tmp_path):
    log = tmp_path / "build.txt"
    log.write_text(text)
    judged = check.log_file(log, "build")
    assert int(judged.exit_code) == int(wanted.pop("exit"))
    if not wanted:
        assert [finding for finding in judged.findings if finding.severity in (Severity.ERROR, Severity.FAIL)] == []
        return
    first = judged.findings[0]
    for key in ("message", "because"):
        assert wanted.pop(key, "") in said(first, key)
    assert {key: said(first, key) for key in wanted} == wanted
