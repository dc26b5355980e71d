"""How every table of a manifest is checked: nothing unknown, nothing converted, nothing infinite."""

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Strict(BaseModel):
    """A table that takes the keys it declares, with values of exactly their types.

    What reads it is built with the first table, not with the class: a service starts without a look at most of
    them. So a default that is a table comes from `model_construct`, which builds nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


def fault(key: str, problem: str) -> PydanticCustomError:
    """Return the complaint that `key` does not go with the rest of its table."""
    return PydanticCustomError("parts", "{problem}", {"key": key, "problem": problem})


def as_tuple(value: object) -> object:
    """Return a list of TOML as the tuple that a frozen table holds."""
    return tuple(value) if isinstance(value, list) else value
