"""Scenes of Sentinel-2 and Sentinel-1 over the synthetic Earth: pixels, STAC items and item tables, all invented.

`write_scenes` adds them to an Earth that `write_earth` has written. A scene is planned first (`layouts`, `plan`: which
granule, orbit and day), then made: `ground` is what lies under its frame and how it is on that day, `sky` the sun and
the clouds, `optics` and `radar` turn both into the pixels of a sensor by the tables of `spectra`.
"""

from csmoe_sampler.synthetic.sensing.layouts import LAYOUTS, Pass, SceneLayout
from csmoe_sampler.synthetic.sensing.write import Scenes, write_scenes

__all__ = ["LAYOUTS", "Pass", "SceneLayout", "Scenes", "write_scenes"]
