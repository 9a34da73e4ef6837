"""Monthly normals of temperature and precipitation, and their map of Köppen-Geiger codes."""

from csmoe_sampler.normals.class_map import classified_map
from csmoe_sampler.normals.opening import Normals, open_normals, open_terraclimate

__all__ = ["Normals", "classified_map", "open_normals", "open_terraclimate"]
