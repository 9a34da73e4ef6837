"""Tiles without scenes give way to the next of their stratum, and what cannot be filled is said."""

import numpy as np
import pyarrow as pa
import pytest

from csmoe_sampler.chance import tile_keys
from csmoe_sampler.errors import ManifestError
from csmoe_sampler.manifest import read_manifest, validate, write_manifest
from csmoe_sampler.objectives import get_objective
from csmoe_sampler.redraw import Reserve, pair_rows, without_scenes
from sampler import small_world


class Chooser:
    """Scenes for the tiles that a rule admits."""

    def __init__(self, admits):
        self.admits = admits
        self.asked = []

    def choose(self, tiles):
        self.asked += tiles.ids.tolist()
        index = small_world.GRID.parse(tiles.ids)
        has = self.admits(index, tiles)
        return pa.table(
            {
                "s2_item": pa.array(np.char.add("S2_", tiles.ids), pa.string(), mask=~has),
                "scene_missing": pa.array(np.full(len(index), "no scene is clear enough"), pa.string(), mask=has),
            }
        )


def by_chance(share):
    return lambda index, tiles: tile_keys(99, index) < np.uint64(share * 2**64)


def setting(objective):
    config = small_world.config(selection__objective=objective)
    population = small_world.population(config)
    return small_world.drawn(config), Reserve(population, config, small_world.LEGENDS)


def ids(manifest):
    return manifest.column("tile_id").tolist()


def test_where_all_tiles_have_scenes_nothing_moves():
    manifest, reserve = setting("diverse")
    paired = pair_rows(manifest, Chooser(lambda index, tiles: index >= 0), on_missing="redraw", reserve=reserve)
    added = ["s2_item", "replaces", "replaces_reason"]
    assert paired.table.drop_columns(added).equals(manifest.table)
    assert paired.metadata["scenes"]["redrawn"] == 0
    assert paired.column("s2_item").tolist() == [f"S2_{name}" for name in ids(manifest)]
    assert validate(paired) == []


@pytest.mark.parametrize("objective", ["diverse", "random", "spread", "kmeans"])
@pytest.mark.parametrize("share", [0.7, 0.2])
def test_replacements_are_the_next_of_the_stratum_that_have_scenes(objective, share):
    manifest, reserve = setting(objective)
    chooser = Chooser(by_chance(share))
    paired = pair_rows(manifest, chooser, on_missing="redraw", reserve=reserve)
    population = reserve.population
    rows = reserve.rows_of(manifest)
    strata = population.strata.of_tile[rows]
    has = by_chance(share)(population.tiles, None)
    features = small_world_features(reserve)
    for h in np.unique(strata):
        members = np.flatnonzero(population.strata.of_tile == h)
        own = rows[strata == h]
        if get_objective(objective).nested:
            order = members[get_objective(objective).order(features.take(members), members.size, 0)]
        else:
            rest = np.setdiff1d(members, own)
            order = np.concatenate([own, rest[np.argsort(features.keys[rest], kind="stable")]])
        coming = [row for row in order[own.size :] if has[row]]
        expected = [row if has[row] else coming.pop(0) if coming else None for row in own]
        expected = [small_world.GRID.ids(population.tiles[[row]])[0] for row in expected if row is not None]
        label = population.strata.labels[h]
        found = [i for i, s in zip(ids(paired), paired.column("stratum"), strict=True) if s == label]
        assert found == expected
    assert len(set(chooser.asked)) == len(chooser.asked), "a tile was asked for twice"
    assert validate(paired) == []


def small_world_features(reserve):
    from csmoe_sampler.population import features_of

    return features_of(reserve.population, reserve.config, small_world.LEGENDS)


def test_what_a_stratum_cannot_fill_is_left_out_and_said(tmp_path):
    manifest, reserve = setting("random")
    empty = manifest.metadata["strata"][2]["stratum"]
    position = reserve.population.strata.labels.index(empty)
    barren = reserve.population.tiles[reserve.population.strata.of_tile == position]
    chooser = Chooser(lambda index, tiles: ~np.isin(index, barren))
    paired = pair_rows(manifest, chooser, on_missing="redraw", reserve=reserve)
    line = next(line for line in paired.metadata["strata"] if line["stratum"] == empty)
    assert line["taken"] == 0
    assert "no scene is clear enough" in line["reason"]
    (unfilled,) = paired.metadata["scenes"]["unfilled"]
    assert (unfilled["stratum"], unfilled["quota"], unfilled["taken"]) == (empty, line["quota"], 0)
    assert len(paired) == len(manifest) - line["quota"]
    assert empty not in set(paired.column("stratum"))
    assert any("left out" in note for note in paired.metadata["notes"])
    write_manifest(paired.table, paired.metadata, tmp_path / "out.parquet")
    assert validate(tmp_path / "out.parquet") == []
    assert read_manifest(tmp_path / "out.parquet").metadata["scenes"] == paired.metadata["scenes"]


@pytest.mark.parametrize("objective", ["diverse", "random"])
def test_dropping_keeps_the_design_sound(objective):
    manifest, _ = setting(objective)
    paired = pair_rows(manifest, Chooser(by_chance(0.6)), on_missing="drop")
    kept = set(ids(manifest)) - {
        i
        for i, ok in zip(
            ids(manifest), by_chance(0.6)(small_world.GRID.parse(np.array(ids(manifest))), None), strict=True
        )
        if not ok
    }
    assert set(ids(paired)) == kept
    assert validate(paired) == []
    weight = paired.column("weight")
    sizes = sum(line["size"] for line in paired.metadata["strata"] if line["taken"])
    assert weight.sum() == pytest.approx(sizes)


def test_keeping_says_why_in_the_row():
    manifest, _ = setting("diverse")
    paired = pair_rows(manifest, Chooser(by_chance(0.6)), on_missing="keep")
    assert ids(paired) == ids(manifest)
    missing = paired.table["scene_missing"]
    assert missing.null_count == paired.table["s2_item"].is_valid().to_numpy().sum()
    assert 0 < missing.null_count < len(manifest)
    assert validate(paired) == []


def test_pairing_anew_forgets_the_scenes_of_before():
    manifest, reserve = setting("diverse")
    first = pair_rows(manifest, Chooser(by_chance(0.5)), on_missing="redraw", reserve=reserve)
    assert without_scenes(first).table.column_names == manifest.table.column_names
    again = pair_rows(first, Chooser(by_chance(0.5)), on_missing="redraw", reserve=reserve)
    assert ids(again) == ids(first)
    assert again.metadata["scenes"]["redrawn"] == 0
    assert validate(again) == []


def test_no_tile_with_scenes_is_an_error_with_the_reason():
    manifest, reserve = setting("diverse")
    with pytest.raises(ManifestError, match=r"no tile has scenes \(no scene is clear enough\): widen the dates"):
        pair_rows(manifest, Chooser(lambda index, tiles: index < 0), on_missing="redraw", reserve=reserve)
