from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hostaudit_agent import presence
from hostaudit_agent.root import Root

if TYPE_CHECKING:
    from pathlib import Path

BUILTIN = f"lib/modules/{os.uname().release}/modules.builtin"
LOADED = "nf_tables 372736 0 - Live 0x0000000000000000\nx_tables 65536 0 - Live 0x0000000000000000\n"


@pytest.mark.parametrize(("files", "answer"), [
    ({}, True),  # a kernel without loadable modules: nothing can be loaded by asking
    ({"proc/modules": LOADED}, True),
    ({"proc/modules": "my_nf_tables 1 0\nnf_tables_extra 1 0\n", BUILTIN: "kernel/net/x.ko\n"}, False),
    ({"proc/modules": "", "proc/sys/kernel/modules_disabled": "1\n"}, True),
    ({"proc/modules": "", BUILTIN: "kernel/net/netfilter/nf_tables.ko\n"}, True),
    ({"proc/modules": "", BUILTIN: "kernel/net/netfilter/nf_tables_x.ko\n"}, False),
    ({"proc/modules": "", "proc/kallsyms": "0000 t nf_tables_newrule\n"}, True),
    ({"proc/modules": "", "proc/kallsyms": "0000 t nf_tables_newrule_x\n"}, False),
    ({"proc/modules": "", "proc/kallsyms": ""}, None),
    ({"proc/modules": ""}, None),
])  # fmt: skip
def test_presence(tmp_path: Path, files: dict[str, str], answer: object) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert presence.has_module(Root(str(tmp_path)), "nf_tables", "nf_tables_newrule") is answer


@pytest.mark.parametrize("chunk", [1, 7, 20, 64])
def test_a_symbol_across_two_reads_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/modules").write_text("")
    (tmp_path / "proc/kallsyms").write_text("0000 t first\n0000 t nf_tables_newrule\n0000 t last\n")
    monkeypatch.setattr(presence, "CHUNK", chunk)
    assert presence.has_module(Root(str(tmp_path)), "nf_tables", "nf_tables_newrule") is True
