"""Who makes a call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """Who makes a call.

    Attributes:
        member: as in a policy, `serviceAccount:learner@p.iam.gserviceaccount.com`; empty for an anonymous caller,
            who matches only `allUsers`. For an identity of a pool `principal://…`, and in a line of its own every
            `principalSet://…` that it is in: they come with its token, and no table knows them.
        scopes: of its token, without their common beginning; none for one that may do all that the caller may.
    """

    member: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How a policy names the caller alone."""
        return self.member.partition("\n")[0]

    @property
    def email(self) -> str:
        """The address without its kind; an identity of a pool has none, and is called by its name."""
        return self.name if self.federated else self.member.partition(":")[2]

    @property
    def federated(self) -> bool:
        """Whether the caller is an identity of a pool."""
        return self.member.startswith("principal://")

    @property
    def anonymous(self) -> bool:
        """Whether the caller showed no credential."""
        return not self.member


ANONYMOUS = Principal()
