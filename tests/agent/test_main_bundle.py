"""The agent as one file."""

from __future__ import annotations

import io
import os
import zipfile
from typing import TYPE_CHECKING

import pytest

from hostaudit import bundle
from hostaudit_agent.snapshot import SURFACES

if TYPE_CHECKING:
    from pathlib import Path


def test_the_bundle_is_the_same_every_time(tmp_path: Path) -> None:
    assert bundle.build() == bundle.build()
    bundle.main([str(tmp_path / "copy.pyz")])
    copy = tmp_path / "copy.pyz"
    assert bundle.digest(copy.read_bytes()) == bundle.digest(bundle.build())
    assert os.access(copy, os.X_OK)
    with pytest.raises(SystemExit, match="usage"):
        bundle.main([])


def test_the_bundle_holds_sources_only() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle.build())) as archive:
        names = archive.namelist()
        assert {entry.date_time for entry in archive.infolist()} == {bundle.EPOCH}
    assert names == sorted(names)
    assert all(name.endswith(".py") for name in names)
    assert {f"hostaudit_agent/collectors/{surface}.py" for surface in SURFACES} <= set(names)
