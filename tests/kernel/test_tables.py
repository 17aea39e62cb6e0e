# SPDX-License-Identifier: MIT
"""The names of routing tables are read as iproute2 reads them."""

from pathlib import Path

import pytest

from miredo.kernel.tables import table_named

USUAL = """\
#
# reserved values
#
255\tlocal
254\tmain
253\tdefault
0\tunspec
#1\tinr.ruhep
"""


def written(root: Path, file: str, text: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_files_no_table_has_a_name(tmp_path: Path) -> None:
    assert table_named("teredo", tmp_path) is None


@pytest.mark.parametrize(
    "file",
    [
        "etc/iproute2/rt_tables",
        "etc/iproute2/rt_tables.d/teredo.conf",
        "usr/share/iproute2/rt_tables",
        "usr/lib/iproute2/rt_tables.d/any.conf",
    ],
)
@pytest.mark.parametrize(
    ("line", "number"), [("84\tteredo", 84), ("0x54 teredo # ours", 84), ("  70000  teredo", 70000)]
)
def test_a_table_has_its_number_in_each_of_the_files(tmp_path: Path, file: str, line: str, number: int) -> None:
    written(tmp_path, "etc/iproute2/rt_tables", USUAL)
    written(tmp_path, file, f"{USUAL}{line}\n")
    assert table_named("teredo", tmp_path) == number
    assert table_named("main", tmp_path) == 254


@pytest.mark.parametrize(
    "line", ["#84 teredo", "84 teredo2", "84", "teredo 84", "0 teredo", "-3 teredo", "4294967296 teredo"]
)
def test_a_line_that_names_no_table_is_passed_by(tmp_path: Path, line: str) -> None:
    written(tmp_path, "etc/iproute2/rt_tables", f"{line}\n84 other\n")
    assert table_named("teredo", tmp_path) is None
    assert table_named("other", tmp_path) == 84


def test_the_administrators_file_comes_before_the_distributions(tmp_path: Path) -> None:
    written(tmp_path, "usr/share/iproute2/rt_tables", "99 teredo\n")
    written(tmp_path, "etc/iproute2/rt_tables.d/b.conf", "98 teredo\n")
    written(tmp_path, "etc/iproute2/rt_tables.d/a.conf", "97 teredo\n")
    written(tmp_path, "etc/iproute2/rt_tables.d/a.txt", "96 teredo\n")
    assert table_named("teredo", tmp_path) == 97


def test_a_file_that_cannot_be_read_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "etc/iproute2/rt_tables").mkdir(parents=True)
    written(tmp_path, "usr/lib/iproute2/rt_tables", "84 teredo\n")
    assert table_named("teredo", tmp_path) == 84
