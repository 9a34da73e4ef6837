"""The synthetic Earth: an invented planet with everything that the sampler reads, for a first try without network.

`write_earth` puts it on disk: land cover in the layout of ESA WorldCover with a static STAC catalogue, a map of the
Köppen-Geiger classes, the monthly normals behind it, and elevation. A seed is an Earth, to the byte.

All of it is drawn from one object: `Planet` has `elevation`, `climate` and `landcover` at any place and resolution, and
`season` is the phase of the year. Whatever else is invented for the same Earth is a function of these four: `sensing`
adds scenes of Sentinel-2 and Sentinel-1 with `write_scenes`, in further collections beside `esa-worldcover` in the
catalogue.
"""

from csmoe_sampler.synthetic.earth import Planet, season
from csmoe_sampler.synthetic.sensing import LAYOUTS, SceneLayout, Scenes, write_scenes
from csmoe_sampler.synthetic.write import Earth, write_earth

__all__ = ["LAYOUTS", "Earth", "Planet", "SceneLayout", "Scenes", "season", "write_earth", "write_scenes"]
