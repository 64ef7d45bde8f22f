"""The sandbox's pace: what is asked for counts at once, or it takes its time as on Google, by the sandbox's clock.

Slow, an API that was enabled and a policy that was changed count two minutes later, an operation is done at the third
poll, and a scan stays PENDING for a minute. Sources: "policy changes take effect within 2 minutes. However, in some
cases, it can take 7 minutes or more" (https://cloud.google.com/iam/docs/access-change-propagation); "If you enabled
this API recently, wait a few minutes for the action to propagate to our systems and retry" (the refusal itself).

Nobody waits for it on the wall. Whoever asks in vain for what is on its way (a call that will be allowed, an operation
that runs, an image whose scan is pending) moves the sandbox's clock forward by `step`: a client that asks again, as it
must on Google, comes to the end after a few questions, and one that asks once never does.
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
        propagation: from enabling an API, or changing a policy, until it counts.
        polls: of an operation until it is done.
        scan: that an image's scan stays PENDING.
        step: by which a question in vain moves the clock.
    """

    propagation: dt.timedelta = dt.timedelta()
    polls: int = 0
    scan: dt.timedelta = dt.timedelta()
    step: dt.timedelta = dt.timedelta()

    def told(self) -> dict[str, Any]:
        """As JSON, durations in seconds."""
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
    """Return the pace that a JSON body asks for: `{"slow": true}`.

    Raises:
        ApiError: INVALID_ARGUMENT for another body.
    """
    if not isinstance(body, Mapping) or body.keys() != {"slow"} or not isinstance(body["slow"], bool):
        raise invalid('A pace is {"slow": true} or {"slow": false}.')
    return SLOW if body["slow"] else AT_ONCE
