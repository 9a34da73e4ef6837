"""Representative, diverse Earth-observation tiles from land cover and climate."""


def __getattr__(name: str) -> str:
    """`__version__`, looked up only when somebody asks: it costs a tenth of the start of a command."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("csmoe-sampler")
