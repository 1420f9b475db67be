"""Known answers about bins, as a CSV file tells them: what a lone reviewer, and the model, can be compared with."""

import csv
import io

from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.errors import FlowError

#: Names of the columns, the first that is there counts; and what counts as which answer.
_PID, _ANSWER = ("pid", "bin", "id"), ("answer", "decision", "label", "skip")
_WORDS = {"good": "good", "ok": "good", "noskip": "good", "no": "good", "0": "good", "false": "good",
          "bad": "bad", "skip": "bad", "yes": "bad", "1": "bad", "true": "bad"}  # fmt: skip


class KnownAnswersError(FlowError):
    """A file that is no table of known answers; the message says what is expected."""


def known_answers(content: bytes) -> dict[str, str]:
    """Good or bad, by pid. Raises KnownAnswersError, naming the line, for what is neither."""
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
        names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise KnownAnswersError(f"this is not a CSV file in UTF-8: {error}") from error
    pid, answer = (next((names[name] for name in wanted if name in names), None) for wanted in (_PID, _ANSWER))
    if pid is None or answer is None:
        raise KnownAnswersError("the file needs the columns pid and answer (good or bad)")
    found = {}
    for number, row in enumerate(rows, start=2):
        name, said = (row[pid] or "").strip(), (row[answer] or "").strip().lower()
        if said not in _WORDS:
            raise KnownAnswersError(f"line {number}: {said!r} is no answer; it must be good or bad")
        try:
            parse_pid(name)
        except InvalidPidError as error:
            raise KnownAnswersError(f"line {number}: {error}") from error
        found[name] = _WORDS[said]
    return found
