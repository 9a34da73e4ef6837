"""Names of the classes of GEO-Bench's data sets, which its files hold in pickles only."""

from __future__ import annotations

from csmoe_model.evaluation.layouts.eurosat import CLASSES as EUROSAT
from csmoe_model.evaluation.layouts.nomenclature import CORINE_NAMES

CLASSES: dict[str, tuple[str, ...]] = {
    "eurosat": EUROSAT,
    "bigearthnet": CORINE_NAMES,
    "brick-kiln": ("not brick kiln", "brick kiln"),
    "pv4ger": ("no solar pv", "solar pv"),
    "forestnet": (
        "Oil palm plantation",
        "Timber plantation",
        "Other large-scale plantations",
        "Grassland shrubland",
        "Small-scale agriculture",
        "Small-scale mixed plantation",
        "Small-scale oil palm plantation",
        "Mining",
        "Fish pond",
        "Logging",
        "Secondary forest",
        "Other",
    ),
    "so2sat": (
        "Compact high rise",
        "Compact mid rise",
        "Compact low rise",
        "Open high rise",
        "Open mid rise",
        "Open low rise",
        "Lightweight low rise",
        "Large low rise",
        "Sparsely built",
        "Heavy industry",
        "Dense trees",
        "Scattered trees",
        "Bush, scrub",
        "Low plants",
        "Bare rock or paved",
        "Bare soil or sand",
        "Water",
    ),
}
"""By name of the data set without `m-`, in the order of the codes."""
