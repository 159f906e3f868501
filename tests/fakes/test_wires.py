"""What every surface does alike: words for each error, refusals that name the model, calls paired with results."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from lockjaw.fakes.models.wires import SURFACES
from lockjaw.fakes.models.wires.pairing import Pairing, PairingWords
from lockjaw.fakes.models.wires.surface import ApiError, ChatRequest, ErrorKind, RequestRefused

TARGETS = {"gemini": "/v1beta/models/m:generateContent"}
WORDS = PairingWords(unknown="{at}: no call {id}", unanswered="{at}: no result for {ids}; {first} is the first")


@pytest.mark.parametrize("name", SURFACES)
def test_a_surface_has_a_status_and_words_for_every_kind_of_error(name: str) -> None:
    surface = SURFACES[name]
    asked = ChatRequest("a {b}", False, False, 1, (), 7)
    for kind in get_args(ErrorKind):
        status, message = surface.error_status(kind), surface.error_message(kind, asked)
        assert status >= 400
        assert message
        assert "{tokens}" not in message
        body = surface.error_body(ApiError(status, message, kind=kind), "req-1")
        assert json.loads(body)["error"]


@pytest.mark.parametrize("name", SURFACES)
def test_a_refusal_names_the_model_once_it_is_known(name: str) -> None:
    surface, target = SURFACES[name], TARGETS.get(name, "")
    with pytest.raises(RequestRefused) as early:
        surface.parse(target, b"{")
    assert (early.value.error.status, early.value.model) == (400, "m" if target else "")
    with pytest.raises(RequestRefused) as late:
        surface.parse(target, b'{"model": "m", "stream": 1}')
    assert late.value.model == "m"


def test_results_pair_with_calls_and_what_does_not_is_named() -> None:
    pairing = Pairing(WORDS)
    pairing.called(["a", "b"])
    pairing.answered("a", "m1")
    with pytest.raises(RequestRefused, match="m1: no call c"):
        pairing.answered("c", "m1")
    with pytest.raises(RequestRefused, match="m2: no result for b; b is the first"):
        pairing.settled("m2")
    pairing.answered("b", "m2")
    pairing.settled("m3")
    with pytest.raises(RequestRefused, match="m4: no call a"):
        pairing.answered("a", "m4")  # what is settled is forgotten


@pytest.mark.parametrize("again", [True, False])
def test_a_second_result_of_one_call_is_the_vendors_to_take(again: bool) -> None:
    pairing = Pairing(PairingWords("no call {id}", "", again=again))
    pairing.called(["a"])
    pairing.answered("a", "")
    if again:
        pairing.answered("a", "")
    else:
        with pytest.raises(RequestRefused, match="no call a"):
            pairing.answered("a", "")
