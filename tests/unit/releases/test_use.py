"""What a request may say beside the card of its release."""

from typing import Any

import pytest

from countermark_service.model import Item, OnFailure
from countermark_service.releases import ContradictionError, ReleaseUse, release_of
from tests.cards import NUMERIC, bare_card


def use(**route: Any) -> ReleaseUse:
    routes = [{"task": "sums", "verifier": NUMERIC, **route}]
    release = release_of(bare_card(verifier={"routes": routes}))
    return ReleaseUse(release, "sums", release.card.verifier.routes[0])


@pytest.mark.parametrize(
    ("card", "asked", "holds"),
    [
        (None, None, OnFailure.NULL),
        (None, OnFailure.RAISE, OnFailure.RAISE),
        ("zero", None, OnFailure.ZERO),
        ("zero", OnFailure.ZERO, OnFailure.ZERO),
        ("null", OnFailure.NULL, OnFailure.NULL),
    ],
)
def test_the_card_decides_what_becomes_of_failures_where_it_says_so(
    card: str | None, asked: OnFailure | None, holds: OnFailure
) -> None:
    assert use(on_failure=card).on_failure(asked) is holds


@pytest.mark.parametrize(
    ("card", "asked"), [("zero", OnFailure.NULL), ("null", OnFailure.ZERO), ("raise", OnFailure.NULL)]
)
def test_a_request_does_not_contradict_the_card(card: str, asked: OnFailure) -> None:
    with pytest.raises(ContradictionError) as refused:
        use(on_failure=card).on_failure(asked)

    assert refused.value.values() == {"field": "on_failure"}
    assert repr(card) in str(refused.value)


def test_items_get_the_parameters_of_the_card_and_may_add_others() -> None:
    items = [Item("a", "b", id=1), Item("a", "b", {"other": 2}, "p", 2), Item("a", "b", {"t": 0.1})]

    found = use(params={"t": 0.1}).items(items)

    assert found == [
        Item("a", "b", {"t": 0.1}, None, 1),
        Item("a", "b", {"other": 2, "t": 0.1}, "p", 2),
        Item("a", "b", {"t": 0.1}),
    ]
    assert use().items(items) is items


@pytest.mark.parametrize(("card", "own"), [(0.1, 0.2), (1, True), (1, 1.0), (None, 0), ("1", 1)])
def test_an_item_with_another_value_for_a_parameter_of_the_card_is_refused(card: Any, own: Any) -> None:
    with pytest.raises(ContradictionError) as refused:
        use(params={"t": card}).items([Item("a", "b"), Item("a", "b", {"t": own})], first=10)

    assert refused.value.values() == {"item": 11, "field": "params.t"}
