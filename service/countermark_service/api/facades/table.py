"""Which facades there are, and which of them a service has."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, FastAPI

from countermark_service.api.facades import (
    nemo_gym,
    open_instruct,
    open_r1,
    openai,
    openrlhf,
    piston,
    reward_kit,
    roll,
    sandbox_fusion,
    slime,
)
from countermark_service.api.facades.by_prefix import ByPrefix
from countermark_service.api.facades.path_token import PathToken
from countermark_service.errors import SettingsError

FACADES: Mapping[str, APIRouter] = {
    "sandbox-fusion": sandbox_fusion.router,
    "open-instruct": open_instruct.router,
    "piston": piston.router,
    "open-r1": open_r1.router,
    "roll": roll.router,
    "openrlhf": openrlhf.router,
    "slime": slime.router,
    "nemo-gym": nemo_gym.router,
    "openai": openai.router,
    "reward-kit": reward_kit.router,
}
"""Every facade by the name that settings and docs call it."""
AT_ROOT: Mapping[str, APIRouter] = {"nemo-gym": nemo_gym.at_root}
"""Routes of a facade outside of its own prefix, for clients that know no path."""


def chosen(names: Sequence[str]) -> list[APIRouter]:
    """Return the facades that the setting `facades` names: some of the table, ``all``, or ``none``.

    Raises:
        SettingsError: A name that is none, or ``all`` or ``none`` beside others.
    """
    if list(names) == ["all"]:
        return list(FACADES.values())
    if list(names) == ["none"]:
        return []
    for name in names:
        if name not in FACADES:
            alone = name in ("all", "none")
            problem = (
                "it stands alone, without other names"
                if alone
                else f"there is no such facade. Name some of {', '.join(FACADES)}, or all, or none"
            )
            raise SettingsError("settings", "facades", name, problem)
    return [FACADES[name] for name in dict.fromkeys(names)]


def install(app: FastAPI, names: Sequence[str]) -> None:
    """Add the facades that `names` says to an app, and the token in the path where there are any.

    It comes after the middleware that logs, which so never sees a token. `app.state.facades_off` has the names of the
    others, for the error that a client of theirs gets.

    Raises:
        SettingsError: A name that is none.
    """
    routers = chosen(names)
    app.state.facades_off = {name for name, router in FACADES.items() if router not in routers}
    app.router.routes.insert(0, ByPrefix(routers))
    for name, router in AT_ROOT.items():
        if FACADES[name] in routers:
            app.include_router(router)
    app.add_middleware(PathToken, prefixes=[router.prefix for router in FACADES.values()])
