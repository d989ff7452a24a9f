"""Driver: which pieces of a stage are at rest, for a stage that may be resumed."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Ledger", "NoLedger"]


class Ledger(Protocol):
    """What an earlier run finished, and where new pieces are noted."""

    def finished(self, stage: str) -> frozenset[int]:
        """Pieces of a stage that are at rest."""
        ...

    def record(self, stage: str, piece: int) -> None:
        """Note a piece whose bytes are at rest."""
        ...


class NoLedger:
    """Nothing is kept: every stage starts from its first piece."""

    def finished(self, stage: str) -> frozenset[int]:
        """Return no piece."""
        del stage
        return frozenset()

    def record(self, stage: str, piece: int) -> None:
        """Forget it."""
        del stage, piece
