"""How land covers look: reflectance in the bands of Sentinel-2 and backscatter of Sentinel-1, invented but plausible.

Every cover has two looks, dormant (or dry) and green (or wet), and a pixel lies between them. The rows follow
`COVERS`, the columns `BANDS`.
"""

from __future__ import annotations

import numpy as np

from csmoe_sampler.types import Float32

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
COVERS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
"""Codes of land cover in the order of the tables; 0 is the open sea."""
SEA, TREES, SHRUBS, GRASS, CROPS, BUILT, BARE, SNOW, WATER, WETLAND, MANGROVES, MOSS = range(12)


def _share(*rows: tuple[float, ...]) -> Float32:
    return (np.array(rows) / 1000.0).astype(np.float32)


DORMANT = _share(
    (42, 37, 23, 9, 6, 5, 4, 4, 4, 4, 2, 2),
    (38, 48, 66, 74, 100, 145, 175, 200, 220, 226, 210, 135),
    (55, 70, 95, 115, 150, 190, 215, 235, 255, 260, 290, 210),
    (60, 80, 115, 150, 190, 225, 250, 275, 300, 305, 360, 260),
    (70, 88, 122, 155, 182, 205, 222, 242, 262, 268, 325, 268),
    (98, 112, 130, 146, 156, 172, 182, 196, 206, 210, 228, 208),
    (105, 138, 192, 252, 284, 304, 320, 336, 352, 356, 430, 385),
    (900, 910, 900, 890, 880, 860, 840, 820, 800, 690, 110, 90),
    (46, 46, 42, 24, 17, 11, 10, 9, 8, 8, 4, 3),
    (40, 52, 75, 85, 110, 135, 155, 170, 180, 185, 165, 95),
    (22, 28, 48, 32, 76, 205, 270, 295, 303, 305, 122, 50),
    (60, 75, 100, 118, 143, 165, 180, 200, 215, 220, 270, 200),
)
"""Reflectance in winter, or after months without rain, (cover, band)."""
GREEN = _share(
    (42, 37, 23, 9, 6, 5, 4, 4, 4, 4, 2, 2),
    (17, 23, 44, 27, 74, 230, 315, 345, 355, 358, 150, 68),
    (28, 37, 64, 52, 100, 200, 245, 270, 284, 288, 205, 118),
    (27, 36, 76, 46, 115, 268, 332, 358, 372, 375, 212, 110),
    (25, 33, 72, 36, 108, 310, 405, 445, 458, 458, 208, 100),
    (76, 88, 112, 110, 140, 212, 245, 270, 282, 286, 214, 165),
    (105, 138, 192, 252, 284, 304, 320, 336, 352, 356, 430, 385),
    (900, 910, 900, 890, 880, 860, 840, 820, 800, 690, 110, 90),
    (46, 46, 42, 24, 17, 11, 10, 9, 8, 8, 4, 3),
    (24, 32, 58, 40, 85, 175, 222, 242, 252, 254, 138, 62),
    (21, 27, 48, 29, 75, 218, 290, 316, 324, 326, 120, 46),
    (40, 50, 76, 68, 108, 172, 205, 230, 245, 250, 238, 148),
)
"""Reflectance of full green, (cover, band)."""
COLOURS = _share(
    (910, 920, 910, 900, 890, 870, 850, 830, 810, 700, 115, 95),
    (640, 620, 605, 615, 625, 632, 640, 648, 652, 470, 430, 350),
    (95, 85, 72, 66, 64, 62, 60, 60, 60, 45, 40, 28),
    (420, 480, 580, 640, 670, 700, 710, 720, 720, 720, 760, 770),
    (250, 260, 280, 300, 310, 320, 330, 340, 345, 350, 420, 460),
    (-350, -300, -60, 240, 260, 230, 200, 180, 170, 160, 130, 200),
)
"""Reflectance of fresh snow; of clouds; what a thin cloud adds; share of the light that a shadow takes; share of the
dormant reflectance that wetness takes; how the colour of soils and waters varies over the land: (6, band)."""
KINDS = _share(
    (40, 160, 160, 140, 60, 200, 130, 50, 80, 190, 130, 180),
    (300, 100, 350, 350, 500, 200, 1000, 30, 900, 400, 200, 500),
    (0, 250, 600, 700, 1000, 300, 900, 0, 0, 500, 0, 700),
    (0, 380, 720, 1000, 1000, 700, 1000, 1000, 1000, 950, 0, 1000),
)
"""Relative variation inside a cover; how far it varies in colour; how far it darkens when wet; how much of it snow can
hide: (4, cover)."""

VV = _share((9, 78, 50, 38, 50, 205, 25, 50, 9.5, 66, 92, 36), (10, 92, 64, 54, 80, 240, 34, 42, 10.5, 94, 98, 48))
VH = _share((1.8, 16.5, 8.5, 5.6, 8, 27, 3, 8.5, 1.9, 10, 22, 6), (2, 21.5, 12.5, 9.5, 15, 33, 4.2, 7, 2.1, 16, 24, 9))
"""Mean backscatter (gamma nought, linear): dry and dormant, then wet and green, (2, cover)."""
