"""The overview is one page that sorts by doubt, whatever was typed; the table is what a spreadsheet reads."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

from MedSAM3SegmentLib.cohort.doubt import doubts_of
from MedSAM3SegmentLib.cohort.overview import Heading, write_overview
from MedSAM3SegmentLib.cohort.records import CaseRecord, ConceptRow, read_record, write_record
from MedSAM3SegmentLib.cohort.table import COLUMNS, write_table

NASTY = "<script>alert(1)</script>"


def records() -> list[CaseRecord]:
    sure = ConceptRow(NASTY, True, 0.99, 0.5, 12.5, 100, 1, (2, 5), 40.0)
    near = ConceptRow(NASTY, True, 0.51, 0.5, 12.5, 100, 1, (2, 5), 40.0, True, (f'He said "{NASTY}".',))
    return [
        CaseRecord("case-a", "", (sure,), model="m"),
        CaseRecord("case-b", "", (near,), model="m", files={"segmentations/case-b.seg.nrrd": 5}),
        CaseRecord("case-c", "", failure=f"{NASTY} is bad."),
    ]


def page(path: Path) -> str:
    heading = Heading({NASTY: "#ff0000"}, "model & more", True, ["axial slices"], "2026-01-01 12:00")
    write_overview(path, heading, records(), doubts_of(records()))
    return path.read_text(encoding="utf-8")


def test_the_most_doubtful_case_is_first_and_all_are_there(tmp_path: Path) -> None:
    text = page(tmp_path / "o.html")
    assert re.findall(r'<article [^>]*data-case="([^"]+)"', text) == ["case-b", "case-a"]
    assert 'href="segmentations/case-b.seg.nrrd"' in text
    assert "1 case failed" in text
    assert "DEMO MODEL" in text


def test_what_was_typed_is_text_and_the_page_asks_no_network(tmp_path: Path) -> None:
    text = page(tmp_path / "o.html")
    assert NASTY not in text
    assert "&lt;script&gt;alert(1)" in text
    assert len(re.findall("<script>", text)) == 1
    assert not re.findall(r"https?://", text)
    body = text[text.index('<main id="cases">') : text.index("</main>") + len("</main>")]
    # Tags are closed as XML has it, but for images.
    ElementTree.fromstring(re.sub(r"(<img [^>]*)>", r"\1/>", body))


def test_the_table_has_a_row_for_each_case_and_concept(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", records(), doubts_of(records()))
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    states = [(row["case"], row["status"]) for row in rows]
    assert states == [("case-a", "done"), ("case-b", "done"), ("case-c", "failed")]
    assert rows[0]["volume_ml"] == "12.500"
    assert (rows[0]["first_slice"], rows[0]["last_slice"]) == ("2", "5")
    assert rows[1]["cut_off"] == "yes"


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    for record in records():
        write_record(tmp_path, record)
        assert read_record(tmp_path, record.case) == record
