"""Dataclasses: the standard library's, and inside the bundle, where every millisecond is a host's, ``small``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostaudit_agent import BUNDLED

if TYPE_CHECKING or not BUNDLED:
    from dataclasses import MISSING, dataclass, field, fields, replace
else:
    from hostaudit_agent.small import MISSING, dataclass, field, fields, replace

__all__ = ["MISSING", "dataclass", "field", "fields", "replace"]
