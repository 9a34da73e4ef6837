"""What a user's own code is found by: `module:attribute`, as `my_sampling:Extremes`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from csmoe_sampler.errors import ConfigError

REFERENCE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


def load(reference: str) -> Any:
    """The attribute that a reference names.

    Raises:
        ConfigError: There is no such module, or it has no such attribute.
    """
    module, _, name = reference.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # a module that the user's own one imports
        raise ConfigError(
            f"'{reference}': no module '{module}' is found: install it, or put its folder on PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise ConfigError(f"'{reference}': module '{module}' has no '{name}': check the spelling") from error
