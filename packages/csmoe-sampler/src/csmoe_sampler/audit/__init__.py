"""The audit: what somebody else's places, or one of our manifests, cover of a population."""

from csmoe_sampler.audit.coverage import Audit, StratumCoverage, audit
from csmoe_sampler.audit.places import Places, read_places

__all__ = ["Audit", "Places", "StratumCoverage", "audit", "read_places"]
