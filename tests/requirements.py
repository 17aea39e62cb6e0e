# SPDX-License-Identifier: MIT
"""
C{./x requirements}: the rows of C{doc/requirements.md} and C{tests/manuals/*.md}, and the tests that show each.

A test names what it shows: C{@pytest.mark.requirement("C8", "A12")}, C{@pytest.mark.manual("M14")}. The exit status is
1 when a row has neither a test nor a reason, when it has both, and when a mark names no row.
"""

import argparse
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "doc" / "requirements.md"
WIDTH = 60
"""Characters of a requirement in the printed table."""


class Form(NamedTuple):
    """Documents of one kind: the C{columns} of their tables, what the second may have, and the tests' C{mark}."""

    mark: str
    columns: tuple[str, ...]
    levels: tuple[str, ...]
    documents: tuple[Path, ...]


REQUIREMENTS = Form(
    "requirement",
    ("id", "level", "requirement", "source", "without a test"),
    ("must", "must not", "should", "should not", "may", "ours", "note"),
    (DOCUMENT,),
)
MANUALS = Form(
    "manual",
    ("id", "kind", "what it says", "where", "without a test"),
    ("synopsis", "option", "file", "signal", "promise", "example", "note"),
    tuple(sorted((ROOT / "tests" / "manuals").glob("*.md"))),
)
FORMS = (REQUIREMENTS, MANUALS)


class Malformed(Exception):
    """The document cannot be read; the text names the line."""


class NotCollected(Exception):
    """pytest could not load the tests; the text is what it said."""


@dataclass(frozen=True)
class Requirement:
    """A row, of a manual too; C{reason} says why it has no test on purpose, and is empty otherwise."""

    id: str
    level: str
    text: str
    source: str
    reason: str


Tests = Mapping[str, Sequence[str]]
"""The node ids of the tests that name each id, parameters left out."""


@dataclass(frozen=True)
class Findings:
    """What is wrong: ids without test and reason, ids with both, and the tests whose mark names no row."""

    untested: list[str]
    contradicted: list[str]
    unknown: dict[str, list[str]]

    def __bool__(self) -> bool:
        return bool(self.untested or self.contradicted or self.unknown)


# ------------------------------------------------------------------ the document


def read(form: Form) -> list[Requirement]:
    """The rows of every document of a form.

    @raise Malformed: one cannot be read, or an id comes twice.
    """
    rows: dict[str, Requirement] = {}
    for document in form.documents:
        for row in read_document(document.read_text(encoding="utf-8"), form):
            if row.id in rows:
                raise Malformed(f"{document.name}: {row.id} is there already")
            rows[row.id] = row
    return list(rows.values())


def read_document(text: str, form: Form = REQUIREMENTS) -> list[Requirement]:
    """The rows of every table.

    @raise Malformed: a table has other columns, a row has a cell too many, few or empty, or an id comes twice.
    """
    rows: dict[str, Requirement] = {}
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        cells = tuple(cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|"))
        if line.startswith("|") and not before.startswith("|") and cells != form.columns:
            raise Malformed(f"line {number}: a table begins with other columns than {', '.join(form.columns)}")
        if line.startswith("|") and cells != form.columns and set(line) != set("|-"):
            row = _read_row(cells, number, form)
            if row.id in rows:
                raise Malformed(f"line {number}: {row.id} is there already")
            rows[row.id] = row
        before = line
    return list(rows.values())


def _read_row(cells: tuple[str, ...], number: int, form: Form) -> Requirement:
    if len(cells) != len(form.columns):
        raise Malformed(f"line {number}: {len(cells)} cells, not {len(form.columns)}")
    row = Requirement(*cells)
    if not (row.id and row.text and row.source):
        raise Malformed(f"line {number}: an empty cell")
    if row.level not in form.levels:
        raise Malformed(f"line {number}: {row.level!r} is no {form.columns[1]}; there are {', '.join(form.levels)}")
    return row


# ------------------------------------------------------------------ the tests


class Marks:
    """The plugin of pytest: it keeps which tests name which id, by the marks."""

    def __init__(self) -> None:
        self._tests: dict[str, dict[str, dict[str, None]]] = {form.mark: {} for form in FORMS}

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        function = item.nodeid.partition("[")[0]
        for name, tests in self._tests.items():
            for mark in item.iter_markers(name):
                for one in mark.args:
                    tests.setdefault(one, {})[function] = None

    @property
    def tests(self) -> dict[str, dict[str, list[str]]]:
        return {name: {one: list(functions) for one, functions in tests.items()} for name, tests in self._tests.items()}


def collect(tests: Path = ROOT / "tests") -> dict[str, dict[str, list[str]]]:
    """The tests of a folder or file, by their marks and the ids that these name; none is run.

    @raise NotCollected: a file of tests cannot be loaded.
    """
    marks = Marks()
    said = io.StringIO()
    options = ["--collect-only", "-q", f"--rootdir={ROOT}", "-c", str(ROOT / "pyproject.toml")]
    with redirect_stdout(said), redirect_stderr(said):
        status = pytest.main([*options, str(tests)], plugins=[marks])
    if status != pytest.ExitCode.OK:
        raise NotCollected(said.getvalue())
    return marks.tests


# ------------------------------------------------------------------ the two together


def compare(rows: Iterable[Requirement], tests: Tests) -> Findings:
    by_id = {row.id: row for row in rows}
    return Findings(
        untested=[one for one, row in by_id.items() if one not in tests and not row.reason],
        contradicted=[one for one, row in by_id.items() if one in tests and row.reason],
        unknown={one: list(functions) for one, functions in tests.items() if one not in by_id},
    )


def as_object(rows: Iterable[Requirement], tests: Tests, findings: Findings) -> dict[str, object]:
    requirements = [
        {
            "id": row.id,
            "level": row.level,
            "requirement": row.text,
            "source": row.source,
            "reason": row.reason or None,
            "tests": list(tests.get(row.id, [])),
        }
        for row in rows
    ]
    return {"requirements": requirements, **vars(findings)}


def as_table(rows: Iterable[Requirement], tests: Tests, *, every_test: bool) -> list[str]:
    """A line a row: id, requirement, number of tests, the first one or the reason; then the others if wished."""
    lines = []
    for row in rows:
        functions = list(tests.get(row.id, []))
        first = functions[0] if functions else f"({row.reason})" if row.reason else ""
        lines.append(f"{row.id:<4} {_short(row.text):<{WIDTH}} {len(functions):>3}  {first}".rstrip())
        if every_test:
            lines += [f"{'':{WIDTH + 9}}  {function}" for function in functions[1:]]
    return lines


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1].rstrip() + "…"


def as_complaints(findings: Findings, form: Form = REQUIREMENTS) -> list[str]:
    lines = []
    if findings.untested:
        lines.append(f"without a test and without a reason ({len(findings.untested)}): {' '.join(findings.untested)}")
    if findings.contradicted:
        lines.append(f"with tests, and with a reason for none: {' '.join(findings.contradicted)}")
    places = ", ".join(document.name for document in form.documents)
    lines += [f"{one} is not in {places}: {', '.join(named)}" for one, named in findings.unknown.items()]
    return lines


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./x requirements", description="What is promised, and the tests that show it."
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--all", action="store_true", help="every test of a requirement, not only the first")
    shape.add_argument("--json", action="store_true", help="as an object, with every test")
    chosen = parser.parse_args(arguments)
    try:
        rows, tests = [(form, read(form)) for form in FORMS], collect()
    except (Malformed, NotCollected) as error:
        print(f"x requirements: {error}", file=sys.stderr)
        return 1
    findings = {form.mark: compare(required, tests[form.mark]) for form, required in rows}
    if chosen.json:
        objects = {form.mark: as_object(required, tests[form.mark], findings[form.mark]) for form, required in rows}
        print(json.dumps(objects, indent=2))
    else:
        for form, required in rows:
            lines = as_table(required, tests[form.mark], every_test=chosen.all)
            print("\n".join([*lines, "", *as_complaints(findings[form.mark], form)]))
    return 1 if any(findings.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
