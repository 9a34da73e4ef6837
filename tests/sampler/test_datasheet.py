"""The data sheet: figures held against plain counts of the manifest, questions left open, text shown as it is."""

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import shapely
from markdown_it import MarkdownIt

from csmoe_sampler.config import BuildConfig
from csmoe_sampler.exports import export
from csmoe_sampler.exports.markdown import TO_BE_WRITTEN, plain
from csmoe_sampler.manifest import Manifest, read_manifest, write_manifest
from sampler.export_inputs import BANDS, NUM_CHIPS, SIZE_PX, write_inputs
from sampler.small_world import config, drawn

THIN = "\u202f"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("datasheet"))


@pytest.fixture(scope="module")
def manifest(inputs):
    return read_manifest(inputs[0])


@pytest.fixture(scope="module")
def sheet(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("sheets") / "DATASHEET.md"
    export(inputs[0], "datasheet", out, chips=inputs[1])
    return out.read_text(encoding="utf-8")


def sheet_of(manifest: Manifest, folder) -> str:
    write_manifest(manifest.table, manifest.metadata, folder / "sample.parquet")
    export(folder / "sample.parquet", "datasheet", folder / "DATASHEET.md")
    return (folder / "DATASHEET.md").read_text(encoding="utf-8")


def cells(text: str) -> dict[str, list[str]]:
    """The rows of all tables as a Markdown reader sees them, by their first cell."""
    tokens, rows, row = MarkdownIt("commonmark").enable("table").parse(text), {}, []
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            row = []
        if before.type in ("td_open", "th_open"):
            row.append("".join(child.content for child in token.children))
        if token.type == "tr_close":
            rows.setdefault(row[0], row[1:])
    return rows


def bullets(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [
        "".join(child.content for child in tokens[k + 2].children)
        for k, token in enumerate(tokens)
        if token.type == "list_item_open"
    ]


def share(value: float) -> str:
    return f"{100 * value:.1f}{THIN}%"


# Figures -----------------------------------------------------------------------------------------------------------


def test_counts_are_those_of_the_manifest(sheet, manifest):
    table, found = manifest.table.to_pandas(), cells(sheet)
    assert found["Rows"] == ["120"]
    assert found["Rows asked for"] == [str(manifest.metadata["candidates"]["wanted"])]
    assert found["Region"] == ["small world"]
    assert found["Seed"] == ["3"]
    assert found["Digest of the configuration"] == [f"sha256:{manifest.metadata['config_digest']}"]
    assert found["UTM zones"] == [str(table["crs"].nunique())]
    splits = table["split"].value_counts()
    assert splits.nunique() == len(splits) == 4, "unequal counts tell the splits apart"
    assert {name: found[name] for name in splits.index} == {
        name: [str(rows), share(rows / 120)] for name, rows in splits.items()
    }


def test_balance_is_by_rows_and_by_weight(sheet, manifest):
    table, found = manifest.table.to_pandas(), cells(sheet)
    for name, own in table.groupby("climate"):
        assert found[name] == [str(len(own)), share(len(own) / 120), share(own["weight"].sum() / table["weight"].sum())]
    for label in manifest.landcover_labels:
        area = table["landcover_valid"]
        plain_share, weighted = (
            (np.average(table[f"landcover_{label}"], weights=weights)) for weights in (area, area * table["weight"])
        )
        assert found[label] == [str((table["landcover"] == label).sum()), share(plain_share), share(weighted)]
    climates = [name for name in found if name in manifest.legends["climate"].labels]
    assert climates == [name for name in manifest.legends["climate"].labels if name in climates], (
        "in the legend's order"
    )


def test_what_is_missing_is_counted(sheet, manifest):
    found = cells(sheet)
    assert found["without scenes"] == ["1"]
    assert found["without an inclusion probability"] == ["120"]
    assert found["of a tile that an earlier row has"] == ["0"]
    assert "without a chip" not in found, "this manifest has no such column"
    fetched = found[next(name for name in found if "not fetched" in name or name == "failed")]
    assert fetched == ["1"]
    assert f"{NUM_CHIPS - 1} of {NUM_CHIPS} rows have a chip of {SIZE_PX} x {SIZE_PX} pixels of 10 m" in sheet


def test_overlaps_are_those_of_every_pair(manifest, tmp_path):
    """Against a plain loop; two rows are repeated, one of them in another split."""
    table = manifest.table.slice(0, 40)
    table = pa.concat_tables([table, table.slice(5, 2)])
    splits = ["train"] * 41 + ["test"]
    place = table.column_names.index("split")
    table = table.set_column(place, table.schema.field("split"), pa.array(splits))
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    pairs = [(i, k) for i in range(42) for k in range(i) if shapes[i].intersects(shapes[k])]
    apart = [(i, k) for i, k in pairs if splits[i] != splits[k]]
    assert 2 <= len(pairs) > len(apart) > 0
    found = cells(sheet_of(Manifest(table=table, metadata=manifest.metadata), tmp_path))
    assert found["of a tile that an earlier row has"] == ["2"]
    assert found["whose footprint overlaps that of another row"] == [str(len({row for pair in pairs for row in pair}))]
    assert found["pairs of overlapping footprints"] == [str(len(pairs))]
    assert found["of these pairs, in two splits (buffer left aside)"] == [str(len(apart))]


def test_scenes_have_their_days(sheet, manifest):
    found, table = cells(sheet), manifest.table.to_pandas()
    for sensor, name in (("s2", "Sentinel-2"), ("s1", "Sentinel-1")):
        days = table[f"{sensor}_datetime"].dropna().dt.date
        assert found[f"Taken, {name}"] == [f"{days.min()} to {days.max()}"]
    assert found["Processing baseline, Sentinel-2"] == ["05.10: 119"]


def test_seasons_are_told_apart(tmp_path):
    path, _ = write_inputs(tmp_path, seasons=("winter", "summer"))
    export(path, "datasheet", tmp_path / "sheet.md")
    found = cells((tmp_path / "sheet.md").read_text(encoding="utf-8"))
    assert found["without scenes in winter"] == found["without scenes in summer"] == ["1"]


def test_bands_are_those_of_the_store(sheet):
    lines = re.findall(r"^\| (s[12]) \| (\w+) \| (\w+) \| ([-.\d]+)", sheet, re.MULTILINE)
    assert [(sensor, band, unit) for sensor, band, unit, _ in lines] == [
        *(("s2", band, "reflectance") for band in BANDS),
        ("s1", "VV", "dB"),
        ("s1", "VH", "dB"),
    ]
    means = [float(mean) for *_, mean in lines]
    assert means[:4] == sorted(means[:4])
    assert -20 < means[5] < means[4] < -10


def test_sources_have_hash_and_licence(sheet, manifest):
    assert cells(sheet.split("### Sources")[1])["landcover"] == [
        "class shares",
        "own files",
        "1",
        "sha256:" + "ab" * 32,
    ]
    licences = cells(sheet.split("## Distribution")[1])
    legend = manifest.metadata["legends"]["climate"]
    assert licences["climate"] == [legend["title"], "CC-BY-4.0", legend["source"]]
    assert licences["scenes"][1] == "not recorded"


# Limits ------------------------------------------------------------------------------------------------------------


def limits(settings: BuildConfig, folder) -> str:
    return "\n".join(bullets(sheet_of(drawn(settings), folder)))


def test_a_purposive_sample_says_so(tmp_path):
    text = limits(config(n=100, selection__objective="diverse"), tmp_path)
    assert "chosen on purpose" in text
    assert "null, which means that there is none" in text


def test_a_probability_design_says_so(tmp_path):
    text = limits(config(n=100, selection__objective="spread"), tmp_path)
    assert "known for every row" in text
    assert "on purpose" not in text


def test_probabilities_that_are_partly_gone_are_counted(tmp_path):
    manifest = drawn(config(n=100, selection__objective="random"))
    place = manifest.table.column_names.index("inclusion_probability")
    values = [None, None, None, *manifest.table["inclusion_probability"].to_pylist()[3:]]
    table = manifest.table.set_column(place, manifest.table.schema.field(place), pa.array(values, pa.float64()))
    assert "it is null in 3 rows" in sheet_of(Manifest(table=table, metadata=manifest.metadata), tmp_path)


def test_pooled_and_short_strata_are_named(tmp_path):
    manifest = drawn(config(n=100))
    strata = [dict(line) for line in manifest.metadata["strata"]]
    pooled = [line["stratum"] for line in strata if line["stratum"].endswith("|*") or "group:" in line["stratum"]]
    whole = next(line for line in strata if line["stratum"] not in pooled)
    assert len(pooled) > 2
    whole["taken"] -= 1
    text = "\n".join(bullets(sheet_of(Manifest(manifest.table, manifest.metadata | {"strata": strata}), tmp_path)))
    line = next(one for one in text.splitlines() if one.startswith("Pooled"))
    assert all(f"{name} (" in line for name in pooled)
    assert f"{whole['stratum']} (" not in line
    assert f"Fewer rows than their quota: {whole['stratum']} ({whole['taken']} of {whole['quota']})." in text


def test_classes_that_no_row_has_are_named(tmp_path):
    manifest = drawn(config(n=60))
    absent = manifest.landcover_labels[3:5]
    kept = manifest.table.filter(pa.array(~np.isin(manifest.column("landcover"), absent)))
    assert 0 < kept.num_rows < 60
    found = bullets(sheet_of(Manifest(kept, manifest.metadata), tmp_path))
    assert f"The largest land cover of no row: {', '.join(absent)}." in found


def test_notes_and_settings_are_handed_on(tmp_path):
    manifest = drawn(config(n=50, candidates__min_land_share=0.25))
    told = manifest.metadata | {"notes": ["fewer than wanted, by a lot"]}
    found = bullets(sheet_of(Manifest(manifest.table, told), tmp_path))
    assert "fewer than wanted, by a lot" in found
    assert any(f"less than 25{THIN}%" in line for line in found)


# Form --------------------------------------------------------------------------------------------------------------


def test_the_parts_are_those_of_gebru(sheet):
    assert re.findall(r"^## (.*)", sheet, re.MULTILINE) == [
        *("Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance")
    ]


def test_every_question_is_open_and_nothing_else_is(sheet):
    questions = re.findall(r"^\*\*.*\?\*\*(.*)$", sheet, re.MULTILINE)
    assert len(questions) == sheet.count(TO_BE_WRITTEN) >= 10
    assert {one.strip() for one in questions} == {TO_BE_WRITTEN}
    for part in re.split(r"^## ", sheet, flags=re.MULTILINE)[1:]:
        assert TO_BE_WRITTEN in part, part.partition("\n")[0]


def test_a_manifest_alone_claims_no_scenes_and_no_pixels(tmp_path):
    text = sheet_of(drawn(config(n=50)), tmp_path)
    assert "None were chosen (`csmoe-sample pair` does)" in text
    assert "The manifest knows of no pixels" in text
    assert "of cloud" not in text
    assert "### Pixels" not in text


def test_what_fetch_did_is_told_from_its_configuration(tmp_path):
    manifest = drawn(config(n=50))
    chips = {"size_px": 48, "pixel_m": 20.0, "s2_bands": ["B03", "B8A"], "s1_bands": ["VV"], "resampling": "cubic"}
    chips |= {"offset": "detect", "min_valid": 0.75, "guards": "refuse"}
    found = cells(sheet_of(Manifest(manifest.table, manifest.metadata | {"chips": {"config": chips}}), tmp_path))
    assert found["Edge of a chip"] == ["48 px of 20 m"]
    assert found["Resampling"][0].startswith("cubic;")
    assert found["Sentinel-2"][0].startswith("B03, B8A;")
    assert found["Sentinel-2's offset of 1000"] == ["subtracted where it was, recognised by its statistics"]
    assert found["Chips that look wrong"] == ["refused"]
    assert "Sentinel-1" not in found, "nothing was paired with it"


HOSTILE = "a|b *c* _d_ <script>e</script> [f](g) `h` ~~i~~ &amp; \\ #j\nk"


def test_text_of_others_is_shown_as_it_is(tmp_path):
    manifest = drawn(config(n=50))
    text = sheet_of(Manifest(manifest.table, manifest.metadata | {"region": HOSTILE}), tmp_path)
    assert cells(text)["Region"] == [HOSTILE.replace("\n", " ")]
    assert "<script>" not in text


@pytest.mark.parametrize("text", ["tree_cover", "*|*", "group:B|*", HOSTILE, "x &lt; y", "[z]: http://q", "~", "\\*"])
def test_plain_text_is_plain(text):
    (token,) = [one for one in MarkdownIt("commonmark").parse(f"a {plain(text)}") if one.type == "inline"]
    assert "".join(child.content for child in token.children) == f"a {' '.join(text.split())}"
    assert {child.type for child in token.children} <= {"text", "text_special"}
