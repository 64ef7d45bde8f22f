"""Who makes a call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """Who makes a call.

    Attributes:
        member: as in a policy, `serviceAccount:learner@p.iam.gserviceaccount.com`; empty for an anonymous caller,
            who matches only `allUsers`.
    """

    member: str = ""

    @property
    def email(self) -> str:
        """The address without its kind."""
        return self.member.partition(":")[2]

    @property
    def anonymous(self) -> bool:
        """Whether the caller showed no credential."""
        return not self.member


ANONYMOUS = Principal()
