"""Scenes as a table with the same columns whatever catalogue they come from, and the columns that a manifest gets."""

from __future__ import annotations

import pyarrow as pa

SCENES = pa.schema(
    [
        pa.field("item", pa.string()),
        pa.field("collection", pa.string()),
        pa.field("datetime", pa.timestamp("us", "UTC")),
        pa.field("geometry", pa.binary()),  # WKB in longitude and latitude: where the scene has data
        pa.field("platform", pa.string()),
        pa.field("orbit", pa.string()),  # ascending or descending; null where unknown, as all that follow
        pa.field("relative_orbit", pa.int32()),
        pa.field("cloud_cover", pa.float32()),  # percent; Sentinel-2
        pa.field("nodata_percent", pa.float32()),  # of the whole granule; Sentinel-2
        pa.field("baseline", pa.string()),  # as 05.10; Sentinel-2
        pa.field("offset", pa.float32()),  # DN to subtract from the pixels; Sentinel-2
        pa.field("polarizations", pa.string()),  # as VV,VH; Sentinel-1
        pa.field("crs", pa.string()),  # as EPSG:32647
        pa.field("href", pa.string()),
        pa.field("stem", pa.string()),
        pa.field("files", pa.string()),  # see assets.SceneFiles
    ]
)
"""One row a scene, sorted by item, each item once."""

_PLACE = ("item", "collection", "datetime", "platform", "orbit", "relative_orbit")
CHOSEN = {
    "s2": (*_PLACE, "cloud_cover", "baseline", "offset", "crs", "href", "stem", "files"),
    "s1": (*_PLACE, "polarizations", "crs", "href", "stem", "files"),
}
"""Sensor -> columns of its scenes that go into a manifest, as `s2_item`."""


def choice_schema(seasons: tuple[str, ...], sensors: tuple[str, ...]) -> pa.Schema:
    """Columns that `pair` adds to a manifest; all null in a row without scenes.

    With one season the names are `s2_item ... s2_coverage`, `s1_item ... s1_coverage`, `dt_days` (time of Sentinel-1
    minus that of Sentinel-2) and `scene_score`; with several, each ends in the season, as `s2_item_summer`.
    """
    fields: list[pa.Field] = []
    for season in seasons:
        end = "" if len(seasons) == 1 else f"_{season}"
        for sensor in sensors:
            fields += [pa.field(f"{sensor}_{name}{end}", SCENES.field(name).type) for name in CHOSEN[sensor]]
            fields.append(pa.field(f"{sensor}_coverage{end}", pa.float32()))
        if "s1" in sensors:
            fields.append(pa.field(f"dt_days{end}", pa.float32()))
        fields.append(pa.field(f"scene_score{end}", pa.float32()))
    return pa.schema(fields)
