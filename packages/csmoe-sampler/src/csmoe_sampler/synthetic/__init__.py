"""The synthetic Earth: an invented planet with everything that the sampler reads, for a first try without network.

`write_earth` puts it on disk: land cover in the layout of ESA WorldCover with a static STAC catalogue, a map of the
Köppen-Geiger classes, the monthly normals behind it, and elevation. A seed is an Earth, to the byte.

All of it is drawn from one object: `Planet` has `elevation`, `climate` and `landcover` at any place and resolution, and
`season` is the phase of the year. Whatever else is to be invented for the same Earth (Sentinel scenes: what covers a
pixel, how steep, how green, how wet on that day) is a function of these four and goes into further collections beside
`esa-worldcover` in the catalogue.
"""

from csmoe_sampler.synthetic.earth import Planet, season
from csmoe_sampler.synthetic.write import Earth, write_earth

__all__ = ["Earth", "Planet", "season", "write_earth"]
