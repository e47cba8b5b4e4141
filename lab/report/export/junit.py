"""A run as JUnit XML: cells as test cases, mapped as pytest does it.

FAIL and XPASS are <failure>, ERROR and MISS <error>, SKIP and XFAIL <skipped>. Source: the Jenkins xunit plugin's junit-10.xsd,
which pytest's --junitxml follows as well; XML 1.0, production Char.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

from lab.model import Cell, Outcome, Result
from lab.report.document import findings_of
from lab.report.export.told import Told
from lab.report.plain import one_line, place, plain

ELEMENTS = {
    Outcome.FAIL: "failure",
    Outcome.XPASS: "failure",
    Outcome.ERROR: "error",
    Outcome.MISS: "error",
    Outcome.SKIP: "skipped",
    Outcome.XFAIL: "skipped",
}
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FINDINGS_AT_MOST = 50


def junit(told: Told) -> bytes:
    """Return the document, UTF-8. Properties of a case are its axes; its text is what was found, with the proof's lines."""
    cases = [case(told, cell, result) for cell, result in told.cells()]
    kinds = [ELEMENTS.get(result.outcome, "") for _, result in told.cells()]
    total = sum(result.seconds for _, result in told.cells())
    suite = ElementTree.Element("testsuite", {
        "name": xml(told.facts.run),
        "tests": str(len(cases)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "time": f"{total:.3f}",
        "timestamp": datetime.fromtimestamp(told.facts.started_at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "hostname": "localhost",
    })  # fmt: skip
    suite.extend(cases)
    suites = ElementTree.Element("testsuites", {"name": "kbuild-lab"})
    suites.append(suite)
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def case(told: Told, cell: Cell | None, result: Result) -> ElementTree.Element:
    """Return one cell."""
    made = ElementTree.Element(
        "testcase",
        {"classname": xml(one_line(told.facts.matrix)), "name": xml(result.cell), "time": f"{result.seconds:.3f}"},
    )
    properties = ElementTree.SubElement(made, "properties")
    for name, text in (*(cell.axes if cell else ()), ("outcome", str(result.outcome))):
        ElementTree.SubElement(properties, "property", {"name": xml(name), "value": xml(one_line(text))})
    if kind := ELEMENTS.get(result.outcome, ""):
        word = "pytest.xfail" if result.outcome is Outcome.XFAIL else str(result.outcome)
        element = ElementTree.SubElement(made, kind, {"type": word, "message": xml(one_line(result.reason))})
        element.text = xml(story(told, result))
    return made


def story(told: Told, result: Result) -> str:
    """Return what was found in a cell, as text."""
    lines = []
    for finding in findings_of(result)[:FINDINGS_AT_MOST]:
        attempt = next((one for one in result.attempts if finding in one.findings), None)
        lines.append(f"{finding.severity.upper()} {finding.id}  {plain(finding.blame)}".rstrip())
        lines.append(f"  {plain(finding.message)}")
        lines += [f"  because  {plain(reason)}" for reason in finding.because]
        if finding.where.file:
            lines.append(f"  proof    {place(finding.where, attempt.folder if attempt else '')}")
        lines += [f"    {line}" for line in told.excerpt(attempt, finding).splitlines()]
    return "\n".join(lines)


def xml(text: str) -> str:
    """Return text that XML can say."""
    return NOT_XML.sub("\ufffd", plain(text))
