"""What users of the system need in their own tests: for now, the suite that every store passes."""

from __future__ import annotations

from actors.testing.store import StoreNonconformance, check_store

__all__ = ["StoreNonconformance", "check_store"]
