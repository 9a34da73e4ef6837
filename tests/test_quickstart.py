"""The quickstart as a new user types it, smaller: from nothing to the page, and once more."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from browser import launched_chromium, opened_page

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ("map", "chips", "training", "classification", "retrieval", "embeddings", "methods")


def quickstart(out):
    words = ["-m", "workflows.quickstart", "--out", str(out), "--n", "70", "--steps", "4"]
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("quickstart") / "here"
    done = quickstart(out)
    assert done.returncode == 0, done.stderr
    return out


def test_every_stage_leaves_its_result(made):
    rows = pq.read_table(made / "sample.parquet", columns=["split", "chip"])
    assert rows.num_rows == 70
    assert rows["chip"].null_count < 7
    assert {"train", "validation", "test"} <= set(rows["split"].to_pylist())
    steps = [json.loads(line) for line in (made / "csmoe" / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in steps) == 4
    state = made / "csmoe" / "checkpoints" / "step-00000004" / "state.json"
    sample = json.loads(state.read_text())["sample"]
    learned = sum(split == "train" and chip is not None for split, chip in zip(*rows.to_pydict().values(), strict=True))
    assert (sample["rows"], sample["seed"]) == (learned, 0)
    assert sample["region"].endswith("scenes.geojson")
    for task in ("classification", "retrieval"):
        records = json.loads((made / "results" / task / "results.json").read_text())
        assert records[-1]["model"]["name"] == "csmoe"
    embeddings = pq.read_table(made / "embeddings.parquet", columns=["grid_cell"])
    assert embeddings.num_rows == 2 * (70 - rows["chip"].null_count)


@pytest.mark.parametrize("width", [1280, 390])
def test_one_page_shows_all_of_it(made, width):
    with launched_chromium() as chromium, opened_page(chromium, made / "quickstart.html", width=width) as opened:
        page = opened.page
        assert [name for name in SECTIONS if page.query_selector(f"section#{name}") is None] == []
        assert page.evaluate("[...document.images].filter(one => !one.complete || !one.naturalWidth).length") == 0
        assert page.locator("#retrieval img").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert "csmoe" in page.inner_text("#classification thead")
        assert (opened.complaints, opened.requests) == ([], [])


def test_the_same_line_again_does_nothing_twice(made):
    kept = [made / "sample.parquet", made / "results" / "retrieval" / "results.json", made / "embeddings.parquet"]
    before = [path.read_bytes() for path in kept]
    changed = [path.stat().st_mtime_ns for path in kept[1:]]
    (made / "embeddings.png").unlink()  # as if it had been killed before it drew
    done = quickstart(made)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is not run again") == 2
    assert (made / "embeddings.png").exists()
    assert [path.read_bytes() for path in kept] == before
    assert [path.stat().st_mtime_ns for path in kept[1:]] == changed
