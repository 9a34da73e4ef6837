"""STAC items and collections of the scenes, laid out like those of the Planetary Computer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from csmoe_sampler.synthetic.sensing.frames import globe_polygon
from csmoe_sampler.synthetic.sensing.optics import FACTORS
from csmoe_sampler.synthetic.sensing.plan import Scene, Sentinel1Scene, Sentinel2Scene
from csmoe_sampler.synthetic.sensing.sky import Sun

SENTINEL2, SENTINEL1 = Sentinel2Scene.collection, Sentinel1Scene.collection

_STAC_VERSION = "1.0.0"
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_EXTENSIONS = {
    SENTINEL2: ("eo/v1.0.0", "sat/v1.0.0", "projection/v1.1.0"),
    SENTINEL1: ("sar/v1.0.0", "sat/v1.0.0", "projection/v1.1.0", "raster/v1.1.0"),
}
_SCL_CLASSES = {
    "s2:cloud_shadow_percentage": 3,
    "s2:vegetation_percentage": 4,
    "s2:not_vegetated_percentage": 5,
    "s2:water_percentage": 6,
    "s2:unclassified_percentage": 7,
    "s2:medium_proba_clouds_percentage": 8,
    "s2:high_proba_clouds_percentage": 9,
    "s2:thin_cirrus_percentage": 10,
    "s2:snow_ice_percentage": 11,
    "s2:dark_features_percentage": 2,
    "s2:saturated_defective_pixel_percentage": 1,
}
# Title, common name, centre and width in micrometres.
_BANDS: dict[str, tuple[str, str | None, float, float]] = {
    "B01": ("Coastal aerosol", "coastal", 0.443, 0.027),
    "B02": ("Blue", "blue", 0.49, 0.098),
    "B03": ("Green", "green", 0.56, 0.045),
    "B04": ("Red", "red", 0.665, 0.038),
    "B05": ("Vegetation red edge 1", "rededge", 0.704, 0.019),
    "B06": ("Vegetation red edge 2", "rededge", 0.74, 0.018),
    "B07": ("Vegetation red edge 3", "rededge", 0.783, 0.028),
    "B08": ("NIR", "nir", 0.842, 0.145),
    "B09": ("Water vapor", None, 0.945, 0.026),
    "B11": ("SWIR (1.6)", "swir16", 1.61, 0.143),
    "B12": ("SWIR (2.2)", "swir22", 2.19, 0.242),
    "B8A": ("Vegetation red edge 4", "rededge", 0.865, 0.033),
}
_POLARIZATIONS = {"vh": ("VH", "horizontal"), "vv": ("VV", "vertical")}
_DESIGNATORS = {"A": "2014-016A", "B": "2016-025A"}
_DESCRIPTIONS = {
    SENTINEL2: "Synthetic scenes in the layout of Sentinel-2 Level-2A; nothing in them was observed.",
    SENTINEL1: (
        "Synthetic scenes in the layout of radiometrically terrain-corrected Sentinel-1 (gamma nought, linear power); "
        "nothing in them was observed."
    ),
}
_TITLES = {SENTINEL2: "Synthetic Sentinel-2 Level-2A", SENTINEL1: "Synthetic Sentinel-1 RTC"}


def scene_files(scene: Scene) -> dict[str, str]:
    """Asset -> file, relative to the folder of the scene's collection."""
    if isinstance(scene, Sentinel1Scene):
        return {polarization: scene.file(polarization) for polarization in scene.polarizations}
    if isinstance(scene, Sentinel2Scene):
        return {band: scene.file(band, 10 * factor) for band, factor in FACTORS.items()}
    raise TypeError(f"{type(scene).__name__} is no scene of a sensor")


def sentinel2_item(scene: Sentinel2Scene, scl: npt.NDArray[np.uint8], num_valid: int, sun: Sun) -> dict[str, Any]:
    """The item of a scene, its percentages counted in the pixels: `scl`, and `num_valid` of those of the 10 m bands."""
    counts = np.bincount(scl.ravel(), minlength=12)
    valid = int(counts[1:].sum())
    percent = {name: _percent(int(counts[code]), valid) for name, code in _SCL_CLASSES.items()}
    tile, orbit, baseline = scene.granule.name, f"A{scene.absolute_orbit:06d}", scene.baseline
    start, made = f"{scene.when:%Y%m%dT%H%M%S}", f"{scene.made:%Y%m%dT%H%M%S}"
    product = f"S2{scene.platform}_OPER_MSI_L2A"
    properties = {
        "datetime": _time(scene.when),
        "platform": f"Sentinel-2{scene.platform}",
        "proj:epsg": scene.frame.epsg,
        "instruments": ["msi"],
        "s2:mgrs_tile": tile,
        "constellation": "Sentinel 2",
        "s2:granule_id": f"{product}_TL_SYNT_{made}_{orbit}_T{tile}_N{baseline}",
        "eo:cloud_cover": _percent(int(counts[8:11].sum()), valid),
        "s2:datatake_id": f"GS2{scene.platform}_{start}_{orbit[1:]}_N{baseline}",
        "s2:product_uri": scene.folder,
        "s2:datastrip_id": f"{product}_DS_SYNT_{made}_S{start}_N{baseline}",
        "s2:product_type": "S2MSI2A",
        "sat:orbit_state": "descending",
        "s2:datatake_type": "INS-NOBS",
        "s2:generation_time": _time(scene.made),
        "sat:relative_orbit": scene.relative_orbit,
        "s2:mean_solar_zenith": sun.zenith_deg,
        "s2:mean_solar_azimuth": sun.azimuth_deg,
        "s2:processing_baseline": baseline,
        "s2:nodata_pixel_percentage": _percent(
            scene.frame.width * scene.frame.height - num_valid, scene.frame.width * scene.frame.height
        ),
        "s2:degraded_msi_data_percentage": 0.0,
        "s2:reflectance_conversion_factor": 1.0,
    }
    assets = {band: _band_asset(scene, band) for band in sorted(FACTORS)}
    return _item(scene, properties | percent, assets)


def sentinel1_item(scene: Sentinel1Scene) -> dict[str, Any]:
    """The item of a scene."""
    frame = scene.frame
    start, end = (time.isoformat(" ", "microseconds") for time in scene.ends)
    properties = {
        "datetime": _time(scene.when),
        "platform": f"SENTINEL-1{scene.platform}",
        "s1:shape": [frame.width, frame.height],
        "proj:bbox": [float(edge) for edge in frame.bounds],
        "proj:epsg": frame.epsg,
        "proj:shape": [frame.height, frame.width],
        "end_datetime": end,
        "constellation": "Sentinel-1",
        "s1:resolution": "high",
        "proj:transform": [float(value) for value in frame.transform],
        "s1:datatake_id": str(scene.datatake),
        "start_datetime": start,
        "s1:orbit_source": "PREORB",
        "s1:slice_number": "1",
        "s1:total_slices": "1",
        "sar:looks_range": 5,
        "sat:orbit_state": "ascending" if scene.ascending else "descending",
        "sar:product_type": "GRD",
        "sar:looks_azimuth": 1,
        "sar:polarizations": [polarization.upper() for polarization in scene.polarizations],
        "sar:frequency_band": "C",
        "sat:absolute_orbit": scene.absolute_orbit,
        "sat:relative_orbit": scene.relative_orbit,
        "s1:processing_level": "1",
        "sar:instrument_mode": "IW",
        "sar:center_frequency": 5.405,
        "sar:resolution_range": 20,
        "s1:product_timeliness": "NRT-3h",
        "sar:resolution_azimuth": 22,
        "sar:pixel_spacing_range": 10,
        "sar:observation_direction": "right",
        "sar:pixel_spacing_azimuth": 10,
        "sar:looks_equivalent_number": 4.4,
        "s1:instrument_configuration_ID": "7",
        "sat:platform_international_designator": _DESIGNATORS[scene.platform],
    }
    assets = {name: _polarization_asset(scene, name) for name in sorted(scene.polarizations)}
    return _item(scene, properties, assets)


def collection(name: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The collection `name` of at least one item, with relative links and no `self` link: the folder may be moved."""
    boxes = np.array([item["bbox"] for item in items])
    times = sorted(item["properties"]["datetime"] for item in items)
    richest = max(items, key=lambda item: len(item["assets"]))
    assets = {
        key: {field: value for field, value in asset.items() if field != "href" and not field.startswith("proj:")}
        for key, asset in richest["assets"].items()
    }
    return {
        "type": "Collection",
        "id": name,
        "stac_version": _STAC_VERSION,
        "title": _TITLES[name],
        "description": _DESCRIPTIONS[name],
        "license": "Apache-2.0",
        "extent": {
            "spatial": {"bbox": [[*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "item_assets": assets,
        "links": [
            _link("root", "../catalog.json"),
            _link("parent", "../catalog.json"),
            *(_link("item", f"./items/{item['id']}.json", "application/geo+json") for item in items),
        ],
        "stac_extensions": ["https://stac-extensions.github.io/item-assets/v1.0.0/schema.json"],
    }


def _item(
    scene: Sentinel1Scene | Sentinel2Scene, properties: Mapping[str, Any], assets: Mapping[str, Any]
) -> dict[str, Any]:
    polygon = globe_polygon(scene.frame.epsg, scene.outline)
    return {
        "id": scene.item_id,
        "bbox": list(polygon.bounds),
        "type": "Feature",
        "links": [
            _link("collection", "../collection.json"),
            _link("parent", "../collection.json"),
            _link("root", "../../catalog.json"),
        ],
        "assets": dict(assets),
        "geometry": {
            "type": "Polygon",
            "coordinates": [[list(point) for point in shapely.get_coordinates(polygon).tolist()]],
        },
        "collection": scene.collection,
        "properties": dict(properties),
        "stac_extensions": [
            f"https://stac-extensions.github.io/{part}/schema.json" for part in _EXTENSIONS[scene.collection]
        ],
        "stac_version": _STAC_VERSION,
    }


def _band_asset(scene: Sentinel2Scene, band: str) -> dict[str, Any]:
    factor = FACTORS[band]
    frame = scene.frame.coarser(factor)
    asset = {
        "href": f"../{scene.file(band, 10 * factor)}",
        "proj:bbox": [float(edge) for edge in frame.bounds],
        "proj:shape": [frame.height, frame.width],
        "proj:transform": [float(value) for value in frame.transform][:6],
        "gsd": float(frame.pixel_m),
        "type": _COG,
        "roles": ["data"],
    }
    if band == "SCL":
        return asset | {"title": "Scene classfication map (SCL)"}
    title, common, centre, width = _BANDS[band]
    number = band[1:].lstrip("0")
    names = {"name": band} | ({"common_name": common} if common else {})
    shape = {"description": f"Band {number} - {title}", "center_wavelength": centre, "full_width_half_max": width}
    return asset | {"title": f"Band {number} - {title} - {10 * factor}m", "eo:bands": [names | shape]}


def _polarization_asset(scene: Sentinel1Scene, name: str) -> dict[str, Any]:
    short, received = _POLARIZATIONS[name]
    return {
        "href": f"../{scene.file(name)}",
        "type": _COG,
        "roles": ["data"],
        "title": f"{short}: vertical transmit, {received} receive",
        "description": (
            "Synthetic terrain-corrected gamma naught values of signal transmitted with vertical polarization and "
            f"received with {received} polarization."
        ),
        "raster:bands": [{"nodata": -32768, "data_type": "float32", "spatial_resolution": float(scene.frame.pixel_m)}],
    }


def _percent(count: int, total: int) -> float:
    """Percent, six decimals; 0 of nothing."""
    return round(100.0 * count / total, 6) if total else 0.0


def _time(time: Any) -> str:
    return str(time.isoformat(timespec="microseconds")).replace("+00:00", "Z")


def _link(rel: str, href: str, kind: str = "application/json") -> dict[str, str]:
    return {"rel": rel, "type": kind, "href": href}
