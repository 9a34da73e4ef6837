"""The error family of csmoe-model: which object, what was found, what to do."""


class ModelError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigError(ModelError):
    """A configuration, preset or option cannot be used."""


class DataError(ModelError):
    """A manifest, chip store or data set does not hold what was asked for."""


class CheckpointError(ModelError):
    """A checkpoint is missing, damaged, or of another architecture."""


class TrainingError(ModelError):
    """A training run cannot go on."""
