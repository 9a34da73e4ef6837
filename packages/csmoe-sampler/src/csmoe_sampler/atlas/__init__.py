"""The atlas: a folder of Parquet parts with every descriptor of every tile on land; resumable, extensible."""

from csmoe_sampler.atlas.describe import describe_tiles
from csmoe_sampler.atlas.files import Atlas, open_atlas
from csmoe_sampler.atlas.missing import WorkPlan, plan_blocks
from csmoe_sampler.atlas.read import read_atlas

__all__ = ["Atlas", "WorkPlan", "describe_tiles", "open_atlas", "plan_blocks", "read_atlas"]
