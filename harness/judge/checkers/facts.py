"""What a checker may know beside the history: the scenario's own numbers.

Knows no scenario file: the loader of scenarios fills this in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ScenarioFacts:
    """Numbers that a scenario promises or demands. Durations are nominal seconds.

    Attributes:
        message: the user's message; empty when the scenario sends none.
        messages: further clients by their names -> what they send instead.
        budget_s: how long the user is willing to wait, from the moment the client starts; None: no limit is named.
        chain: the candidates, ``provider/model``, in their order.
        answers_s: ``provider/model`` -> seconds after the client's start at which that model could have answered
            at the earliest, None when it never would.
        recovered_within_s: bound for the next acquire after a holder ended or died; None: not demanded.
        amplification: bound for (seconds lost + provider calls wasted) per second of injected fault.
        bystander_s: how long a held database may delay a client of another session; None: not demanded.
        fault_s: seconds of fault that the scenario injects; 0 when it injects none.
        calls: bound for the requests to models for the user's question; None: not demanded.
        ledger: effect key -> how often it may be found when the run is over; keys that are not named: once.
    """

    message: str = ""
    messages: Mapping[str, str] = field(default_factory=dict)
    budget_s: float | None = None
    chain: tuple[str, ...] = ()
    answers_s: Mapping[str, float | None] = field(default_factory=dict)
    recovered_within_s: float | None = None
    amplification: float | None = None
    fault_s: float = 0.0
    bystander_s: float | None = None
    calls: int | None = None
    ledger: Mapping[str, int] = field(default_factory=dict)

    def message_of(self, client: str) -> str:
        """What this client sends."""
        return self.messages.get(client, self.message)

    @property
    def first_answer_s(self) -> float | None:
        """The earliest that any model could have answered; None when none would."""
        return min((s for s in self.answers_s.values() if s is not None), default=None)

    @property
    def answer_possible(self) -> bool:
        """True when some model would have answered within the budget."""
        first = self.first_answer_s
        return first is not None and (self.budget_s is None or first <= self.budget_s)
