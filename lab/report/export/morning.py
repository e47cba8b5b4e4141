"""What a night says as a mail, for who wants to read it there; nothing here sends. Source: RFC 5322."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from lab.report.export.mail import Envelope, address
from lab.report.nightly import closing, night_text
from lab.report.plain import one_line
from lab.results.comparison import Difference


def morning(contract: Mapping[str, Any], claimed: Sequence[Difference], envelope: Envelope, at_s: float) -> bytes:
    """Return the mail of a night. contract: night_document(). claimed: what is new and proven, each of which has its own mail.

    Raises ValueError for an address of another form.
    """
    # its lines may be longer than a mail's: they are then encoded, and come out as they were
    message = EmailMessage(policy=default.clone(max_line_length=998))
    message["Subject"] = f"[{one_line(contract['matrix'], at_most=60)}] {contract['day']}: {closing(contract)}"
    message["From"] = address(envelope.sender)
    for name, some in (("To", envelope.to), ("Cc", envelope.cc)):
        if some:
            message[name] = ", ".join(address(one) for one in some)
    message["Date"] = format_datetime(datetime.fromtimestamp(at_s, UTC))
    lines = [night_text(contract)]
    if claimed:
        lines += ["", "What is new, each as a mail in the 0-day robot's layout:", ""]
        results = Path(contract["folder"]).parent
        lines += [f"    {command}" for command in dict.fromkeys(mail_command(results, one) for one in claimed)]
    message.set_content("\n".join(lines) + "\n", charset="utf-8")
    return message.as_bytes()


def mail_command(results: Path, one: Difference) -> str:
    """Return what writes the mail of a fault, from the run in which it was seen."""
    run = results / one.fault.folder.partition("/")[0]
    return one_line(shlex.join(["lab", "export", str(run), "--mail", one.cell]))
