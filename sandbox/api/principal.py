"""The caller of a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """The caller of a request.

    Attributes:
        member: as in a policy, `serviceAccount:learner@p.iam.gserviceaccount.com`; empty for an anonymous caller,
            which matches only `allUsers`. For an identity of a pool, `principal://…` and each `principalSet://…` that
            includes it on lines of their own: they come from its token and are not stored elsewhere.
        scopes: of its token, without their common prefix; empty if the token is not limited.
    """

    member: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The member that names only the caller."""
        return self.member.partition("\n")[0]

    @property
    def email(self) -> str:
        """The e-mail address, or the name of an identity of a pool, which has no address."""
        return self.name if self.federated else self.member.partition(":")[2]

    @property
    def federated(self) -> bool:
        """Whether the caller is an identity of a pool."""
        return self.member.startswith("principal://")

    @property
    def anonymous(self) -> bool:
        """Whether the caller sent no credential."""
        return not self.member


ANONYMOUS = Principal()
