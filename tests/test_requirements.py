# SPDX-License-Identifier: MIT
"""The requirements, the rows of the old manuals, and the tests that show them name each other rightly."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest

from tests.requirements import (
    DOCUMENT,
    FORMS,
    MANUALS,
    REQUIREMENTS,
    ROOT,
    Findings,
    Form,
    Malformed,
    Requirement,
    as_complaints,
    as_table,
    compare,
    read,
    read_document,
)

HEADER = f"| {' | '.join(REQUIREMENTS.columns)} |\n|{'---|' * len(REQUIREMENTS.columns)}\n"
SHOWN = Requirement("C1", "must", "It has a server.", "RFC 4380 5.2", "")
EXCUSED = Requirement("C2", "may", "It has two.", "RFC 4380 5.2", "not built")
BARE = Requirement("C3", "ours", "It has three.", "RFC 4380 5.2", "")
GROUPS = {
    "C": "Client",
    "S": "Server",
    "R": "Relay",
    "H": "Host-specific relay",
    "E": "Every role",
    "A": "Where the texts",
    "T": "Attacks",
}
MANUAL = f"| {' | '.join(MANUALS.columns)} |\n|{'---|' * len(MANUALS.columns)}\n"
LETTERS = {"miredo.md": "M", "miredo-server.md": "N", "readme-2004.md": "O"}
MARKS = pytest.mark.parametrize("mark", [form.mark for form in FORMS])
COLLECT = "import json, sys; from tests.requirements import *; print(json.dumps(collect(Path(sys.argv[1]))))"


class Row(TypedDict):
    id: str
    reason: str | None
    tests: list[str]


class Report(TypedDict):
    requirements: list[Row]
    untested: list[str]
    contradicted: list[str]
    unknown: dict[str, list[str]]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture(scope="module")
def finished() -> subprocess.CompletedProcess[str]:
    return python("-m", "tests.requirements", "--json")


@pytest.fixture
def reports(finished: subprocess.CompletedProcess[str]) -> dict[str, Report]:
    assert finished.stdout, finished.stderr
    found: dict[str, Report] = json.loads(finished.stdout)
    return found


def document() -> list[Requirement]:
    return read(REQUIREMENTS)


# ------------------------------------------------------------------ the document


def test_every_row_of_the_document_is_read() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [row.id for row in document()] == re.findall(r"^\| ([A-Z]\d+a?) \|", text, re.MULTILINE)


def test_the_ids_of_a_section_count_up() -> None:
    ids = [re.fullmatch(r"([CSRHEAT])(\d+)(a?)", row.id) for row in document()]
    keys = [(one[1], int(one[2]), one[3]) for one in ids if one]
    assert len(keys) == len(ids)
    assert keys == sorted(keys, key=lambda key: ("CSRHEAT".index(key[0]), *key[1:]))


@pytest.mark.parametrize(("letter", "title"), GROUPS.items())
def test_the_ids_of_a_section_have_its_letter(letter: str, title: str) -> None:
    sections = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = {row.id[0] for text in sections if text.startswith(title) for row in read_document(text)}
    assert named == {letter}


def test_what_an_rfc_asks_for_cites_it() -> None:
    assert [row.id for row in document() if row.level != "ours" and not row.source.startswith("RFC ")] == []


@pytest.mark.parametrize("manual", MANUALS.documents, ids=lambda path: path.name)
def test_the_ids_of_a_manual_have_its_letter_and_count_from_one(manual: Path) -> None:
    text = manual.read_text(encoding="utf-8")
    ids = [row.id for row in read_document(text, MANUALS)]
    assert ids == [f"{LETTERS[manual.name]}{number}" for number in range(1, len(ids) + 1)]
    assert len(ids) == len(re.findall(r"^\| [A-Z]\d", text, re.MULTILINE))


def test_of_the_manuals_only_a_handful_of_notes_do_without_a_test() -> None:
    without = [(row.level, row.id) for row in read(MANUALS) if row.reason]
    assert without == [(row.level, row.id) for row in read(MANUALS) if row.level == "note"]
    assert len(without) <= 5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("| id | requirement |\n|---|---|\n", "line 1: a table begins with other columns"),
        (HEADER + "| C1 | must | It has a server. | RFC 4380 5.2 |\n", "line 3: 4 cells"),
        (HEADER + "| C1 | must | a | b | | c |\n", "line 3: 6 cells"),
        (HEADER + "| C1 | must | | RFC 4380 5.2 | |\n", "line 3: an empty cell"),
        (HEADER + "| C1 | perhaps | a | RFC 4380 5.2 | |\n", "line 3: 'perhaps' is no level"),
        (HEADER + "| C1 | may | a | b | |\n" * 2, "line 4: C1 is there already"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint):
        read_document(text)


def test_a_manual_has_kinds_where_requirements_have_levels() -> None:
    assert read_document(MANUAL + "| M1 | file | It. | FILES | |\n", MANUALS) == [
        Requirement("M1", "file", "It.", "FILES", "")
    ]
    with pytest.raises(Malformed, match="line 3: 'must' is no kind"):
        read_document(MANUAL + "| M1 | must | It. | FILES | |\n", MANUALS)
    with pytest.raises(Malformed, match="line 1: a table begins with other columns"):
        read_document(MANUAL)


def test_two_documents_of_a_form_share_no_id(tmp_path: Path) -> None:
    files = tmp_path / "a.md", tmp_path / "b.md"
    for file in files:
        file.write_text(MANUAL + "| M1 | file | It. | FILES | |\n")
    with pytest.raises(Malformed, match=r"b\.md: M1 is there already"):
        read(MANUALS._replace(documents=files))


def test_a_row_is_read_cell_by_cell() -> None:
    text = f"# Title\n\ntext | text\n\n{HEADER}| C2 | may | It has two. | RFC 4380 5.2 | not built |\n"
    assert read_document(text) == [EXCUSED]


# ------------------------------------------------------------------ the two together


def test_a_row_needs_a_test_or_a_reason_and_not_both() -> None:
    findings = compare([SHOWN, EXCUSED, BARE], {"C1": ["t::a"], "C4": ["t::b"]})
    assert findings == Findings(["C3"], [], {"C4": ["t::b"]})
    assert compare([SHOWN, EXCUSED], {"C1": ["t::a"], "C2": ["t::a"]}) == Findings([], ["C2"], {})


def test_findings_are_complaints_and_none_is_none() -> None:
    assert not compare([SHOWN, EXCUSED], {"C1": ["t::a"]})
    for findings in (Findings(["C3"], [], {}), Findings([], ["C2"], {}), Findings([], [], {"C4": ["t::b"]})):
        assert findings
        assert len(as_complaints(findings)) == 1
    assert as_complaints(
        Findings([], [], {"F1": ["t::a"]}), MANUALS._replace(documents=(Path("a.md"), Path("b.md")))
    ) == ["F1 is not in a.md, b.md: t::a"]


def test_the_table_has_the_first_test_or_the_reason_and_every_test_if_wished() -> None:
    tests = {"C1": ["t::a", "t::b"]}
    short = as_table([SHOWN, EXCUSED, BARE], tests, every_test=False)
    assert [line.split()[-1] for line in short] == ["t::a", "built)", "0"]
    assert [line.split()[-1] for line in as_table([SHOWN], tests, every_test=True)] == ["t::a", "t::b"]


# ------------------------------------------------------------------ what is true of this tree


@MARKS
def test_every_mark_names_a_row(mark: str, reports: dict[str, Report]) -> None:
    assert reports[mark]["unknown"] == {}


@MARKS
def test_no_row_with_a_reason_has_a_test(mark: str, reports: dict[str, Report]) -> None:
    both = [row["id"] for row in reports[mark]["requirements"] if row["reason"] and row["tests"]]
    assert reports[mark]["contradicted"] == both == []


def test_the_exit_status_is_1_while_a_row_lacks_a_test(
    finished: subprocess.CompletedProcess[str], reports: dict[str, Report]
) -> None:
    bare = {
        mark: [row["id"] for row in report["requirements"] if not row["reason"] and not row["tests"]]
        for mark, report in reports.items()
    }
    assert {mark: report["untested"] for mark, report in reports.items()} == bare
    assert finished.returncode == (1 if any(bare.values()) else 0), finished.stderr


@pytest.mark.parametrize(
    ("form", "file"),
    [(REQUIREMENTS, "tests/teredo/test_server.py"), (MANUALS, "tests/commands/test_classic_daemons.py")],
    ids=lambda one: one.mark if isinstance(one, Form) else "",
)
def test_a_test_is_named_by_its_file_in_this_tree(form: Form, file: str, reports: dict[str, Report]) -> None:
    files = {test.partition("::")[0] for row in reports[form.mark]["requirements"] for test in row["tests"]}
    assert file in files
    assert [one for one in sorted(files) if not (ROOT / one).exists()] == []


def test_a_function_counts_once_whatever_its_parameters_and_one_for_real_peers_counts_too(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(
        "import pytest\npytestmark = pytest.mark.requirement('S1')\n"
        "@pytest.mark.requirement('C1', 'C2')\n@pytest.mark.requirement('C1')\n"
        "@pytest.mark.parametrize('n', [1, pytest.param(2, marks=pytest.mark.manual('M1'))])\ndef test_one(n): ...\n"
        "@pytest.mark.interop\ndef test_two(): ...\n"
    )
    done = python("-c", COLLECT, str(file))
    collected = {
        mark: {one: [name.rpartition("::")[2] for name in names] for one, names in tests.items()}
        for mark, tests in json.loads(done.stdout).items()
    }
    assert collected == {
        "requirement": {"C1": ["test_one"], "C2": ["test_one"], "S1": ["test_one", "test_two"]},
        "manual": {"M1": ["test_one"]},
    }


def test_tests_that_cannot_be_loaded_are_no_tests_at_all(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("import a_module_that_is_not_there\n")
    done = python("-c", COLLECT, str(file))
    assert done.returncode != 0
    assert "NotCollected" in done.stderr
    assert "a_module_that_is_not_there" in done.stderr


@MARKS
def test_every_row_has_a_test_or_a_reason(mark: str, reports: dict[str, Report]) -> None:
    assert reports[mark]["untested"] == []
