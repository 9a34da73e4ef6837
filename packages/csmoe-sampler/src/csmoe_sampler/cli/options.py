"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Region = Annotated[
    str | None,
    typer.Option(
        help="global, a continent, an ISO 3166 code, lon_min,lat_min,lon_max,lat_max, or a vector file.",
        show_default="global",
    ),
]
Number = Annotated[int | None, typer.Option("--n", help="Tiles to draw.", show_default="100000")]
Seed = Annotated[int | None, typer.Option(help="Seed of every random decision.", show_default="0")]
Config = Annotated[Path | None, typer.Option(help="TOML file with any key of the configuration; options win over it.")]
GridKm = Annotated[float | None, typer.Option(help="Spacing of the Major TOM grid in km.", show_default="10")]
Landcover = Annotated[
    list[str] | None,
    typer.Option(
        metavar="<path>",
        help="Land-cover raster: path, URL or glob, repeatable.",
        show_default="ESA WorldCover through STAC",
    ),
]
LegendName = Annotated[
    str | None,
    typer.Option(
        "--legend", help="Legend of the land cover: a shipped name or a TOML file.", show_default="worldcover"
    ),
]
Climate = Annotated[
    str | None,
    typer.Option(help="Köppen-Geiger map: path, beck2023 or terraclimate.", show_default="beck2023, downloaded once"),
]
Temperature = Annotated[str | None, typer.Option(help="Monthly temperature normals, instead of a climate map.")]
Precipitation = Annotated[str | None, typer.Option(help="Monthly precipitation normals, with --temperature.")]
StacUrl = Annotated[str | None, typer.Option(help="STAC API or static catalogue with the land cover.")]
Collection = Annotated[str | None, typer.Option(help="Collection in it.")]
Approximate = Annotated[
    int | None,
    typer.Option(help="Count on the overview of this decimation factor: fast, and biased against rare classes."),
]
Reproject = Annotated[
    bool, typer.Option("--reproject", help="Warp rasters in a projected CRS to longitude and latitude.")
]
ObjectiveName = Annotated[
    str | None,
    typer.Option(
        "--objective", help="diverse, spread, random, proportional, kmeans, or module:Class.", show_default="diverse"
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail where the region has fewer tiles on land than --n.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler, tcp://host:8786.", show_default="this machine")
]
Workers = Annotated[
    int | None, typer.Option(metavar="<int>", min=1, help="Threads on this machine.", show_default="all cores")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that other settings have made.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
ScenesUrl = Annotated[
    str | None,
    typer.Option("--scenes", help="STAC API or static catalogue with the scenes.", show_default="the provider's"),
]
ProviderName = Annotated[
    str | None,
    typer.Option(
        "--provider", help="planetary-computer, earth-search, cdse or a TOML file.", show_default="planetary-computer"
    ),
]
Items = Annotated[
    list[str] | None,
    typer.Option(
        metavar="<path>", help="STAC-GeoParquet in place of searches: file, folder, glob or URL, repeatable; or bulk."
    ),
]
Seasons = Annotated[str | None, typer.Option(help="year, or some of winter,spring,summer,autumn.", show_default="year")]
Start = Annotated[str | None, typer.Option(help="First day of the scenes, as 2021-01-01.", show_default="2021-01-01")]
End = Annotated[str | None, typer.Option(help="Last day of the scenes.", show_default="2021-12-31")]
MaxCloud = Annotated[
    float | None, typer.Option("--max-cloud", help="Cloud cover of a scene in percent.", show_default="20")
]
Sentinel1 = Annotated[
    str | None, typer.Option(help="rtc, grd (to pair only: not calibrated) or none.", show_default="rtc")
]
Diversity = Annotated[
    str | None,
    typer.Option(help="Axes of the diversity, as spectral,landcover.", show_default="landcover,climate,position"),
]
FormatName = Literal[
    "majortom",
    "rslearn",
    "olmoearth",
    "torchgeo",
    "terratorch",
    "stac-geoparquet",
    "geojson",
    "csv",
    "croissant",
    "datasheet",
    "webdataset",
    "geotiff",
]
