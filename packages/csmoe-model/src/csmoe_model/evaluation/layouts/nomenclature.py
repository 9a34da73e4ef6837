"""The classes of BigEarthNet: 19, made of 43 of CORINE's by the rule of its authors.

Sumbul et al., "BigEarthNet-MM", 2021, table II: classes that a single image cannot tell have no counterpart. Two orders
of the 19 are in use elsewhere, so labels go by name; here they are sorted by name.
"""

from __future__ import annotations

CORINE: dict[int, tuple[str, str | None]] = {
    111: ("Continuous urban fabric", "Urban fabric"),
    112: ("Discontinuous urban fabric", "Urban fabric"),
    121: ("Industrial or commercial units", "Industrial or commercial units"),
    122: ("Road and rail networks and associated land", None),
    123: ("Port areas", None),
    124: ("Airports", None),
    131: ("Mineral extraction sites", None),
    132: ("Dump sites", None),
    133: ("Construction sites", None),
    141: ("Green urban areas", None),
    142: ("Sport and leisure facilities", None),
    211: ("Non-irrigated arable land", "Arable land"),
    212: ("Permanently irrigated land", "Arable land"),
    213: ("Rice fields", "Arable land"),
    221: ("Vineyards", "Permanent crops"),
    222: ("Fruit trees and berry plantations", "Permanent crops"),
    223: ("Olive groves", "Permanent crops"),
    231: ("Pastures", "Pastures"),
    241: ("Annual crops associated with permanent crops", "Permanent crops"),
    242: ("Complex cultivation patterns", "Complex cultivation patterns"),
    243: (
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
    ),
    244: ("Agro-forestry areas", "Agro-forestry areas"),
    311: ("Broad-leaved forest", "Broad-leaved forest"),
    312: ("Coniferous forest", "Coniferous forest"),
    313: ("Mixed forest", "Mixed forest"),
    321: ("Natural grassland", "Natural grassland and sparsely vegetated areas"),
    322: ("Moors and heathland", "Moors, heathland and sclerophyllous vegetation"),
    323: ("Sclerophyllous vegetation", "Moors, heathland and sclerophyllous vegetation"),
    324: ("Transitional woodland/shrub", "Transitional woodland, shrub"),
    331: ("Beaches, dunes, sands", "Beaches, dunes, sands"),
    332: ("Bare rock", None),
    333: ("Sparsely vegetated areas", "Natural grassland and sparsely vegetated areas"),
    334: ("Burnt areas", None),
    411: ("Inland marshes", "Inland wetlands"),
    412: ("Peatbogs", "Inland wetlands"),
    421: ("Salt marshes", "Coastal wetlands"),
    422: ("Salines", "Coastal wetlands"),
    423: ("Intertidal flats", None),
    511: ("Water courses", "Inland waters"),
    512: ("Water bodies", "Inland waters"),
    521: ("Coastal lagoons", "Marine waters"),
    522: ("Estuaries", "Marine waters"),
    523: ("Sea and ocean", "Marine waters"),
}
"""Name in the first version of the data set, and class of the 19, by CORINE's code of the third level."""
CORINE_NAMES = tuple(sorted(name for name, _ in CORINE.values()))
"""The 43, sorted."""
CLASSES = tuple(sorted({own for _, own in CORINE.values() if own}))
"""The 19, sorted."""
CLASS_OF: dict[str, str | None] = dict(CORINE.values()) | {own: own for own in CLASSES}
"""Class of the 19 by any name, of the 43 or of the 19; none: it has no counterpart."""
