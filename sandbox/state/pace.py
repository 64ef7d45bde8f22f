"""The sandbox's pace: whether changes take effect immediately or, as on Google, after a delay of the sandbox's clock.

At the slow pace an enabled API and a changed policy take effect two minutes later, an operation is done at the third
poll, and a scan stays PENDING for a minute. Sources: "policy changes take effect within 2 minutes. However, in some
cases, it can take 7 minutes or more" (https://cloud.google.com/iam/docs/access-change-propagation); "If you enabled
this API recently, wait a few minutes for the action to propagate to our systems and retry" (the refusal itself).

No real time passes. Each request that arrives too early (a call that will be allowed, an unfinished operation, a
pending scan) advances the sandbox's clock by `step`: a client that retries, as it must on Google, succeeds after a few
requests, and one that asks once never does.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

from sandbox.errors import invalid


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long things take.

    Attributes:
        propagation: from enabling an API, or changing a policy, until it takes effect.
        polls: how many polls an operation takes until it is done; on Google the first response never has the result.
        scan: how long an image's scan stays PENDING.
        step: how far a request that arrives too early advances the clock.
    """

    propagation: dt.timedelta = dt.timedelta()
    polls: int = 1
    scan: dt.timedelta = dt.timedelta()
    step: dt.timedelta = dt.timedelta()

    def as_json(self) -> dict[str, Any]:
        """Return the pace as JSON, durations in seconds."""
        return {
            "slow": self != AT_ONCE,
            "propagationSeconds": self.propagation.total_seconds(),
            "polls": self.polls,
            "scanSeconds": self.scan.total_seconds(),
            "stepSeconds": self.step.total_seconds(),
        }


AT_ONCE = Pace()
SLOW = Pace(dt.timedelta(seconds=120), 3, dt.timedelta(seconds=60), dt.timedelta(seconds=30))


def of(body: Any) -> Pace:
    """Return the pace in a JSON body, `{"slow": true}`, or raise INVALID_ARGUMENT for another body."""
    if not isinstance(body, Mapping) or body.keys() != {"slow"} or not isinstance(body["slow"], bool):
        raise invalid('A pace is {"slow": true} or {"slow": false}.')
    return SLOW if body["slow"] else AT_ONCE
