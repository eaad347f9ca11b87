"""JSON Schemas (2020-12) of what hostaudit prints and reads, from the types it is read with: docs/schema/*.json."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from hostaudit.model import PLAN_SCHEMA, RUN_SCHEMA, HostReport, Plan
from hostaudit.report._document import Document, Shown, ShownWaived
from hostaudit.report.ndjson import LINES_SCHEMA
from hostaudit.report.page.context import CONTEXT_SCHEMA, Context

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLACED = ("Shown", "ShownWaived", "ShownCause", "Named")
"""What has ``host``, or ``hosts``, but never neither."""


def schemas() -> dict[str, str]:
    """Return file name -> text."""
    return {
        f"{name}.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in {
            "run": _one(Document, RUN_SCHEMA, "The document of `hostaudit run --format json`."),
            "lines": _lines(),
            "plan": _plan(),
            "context": _one(Context, CONTEXT_SCHEMA, "What stands beside a run: `hostaudit report --context FILE`."),
        }.items()
    }


def _one(kind: Any, name: str, text: str) -> dict[str, Any]:
    made = msgspec.json.schema(kind)
    return {**_head(name, text), "$ref": made["$ref"], "$defs": _placed(made["$defs"], name, made["$ref"])}


def _head(name: str, text: str) -> dict[str, Any]:
    return {"$schema": DIALECT, "$id": f"urn:{name.replace('/', ':').replace('.', ':')}", "description": text}


def _placed(definitions: dict[str, Any], name: str, reference: str) -> dict[str, Any]:
    for key in PLACED:
        if key in definitions:
            definitions[key]["anyOf"] = [{"required": ["host"]}, {"required": ["hosts"]}]
    top = definitions[reference.rpartition("/")[2]]
    top["properties"]["schema"] = {"const": name}
    top["required"] = sorted({*top.get("required", ()), "schema"})
    return definitions


def _plan() -> dict[str, Any]:
    schema = _one(Plan, PLAN_SCHEMA, "The file of `hostaudit plan -o FILE`.")
    schema["$defs"]["Plan"]["properties"]["sha256"] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    schema["$defs"]["Plan"]["required"].append("sha256")
    return schema


def _lines() -> dict[str, Any]:
    """Return the schema of one line of ``--format ndjson``."""
    (host, found, waived), definitions = msgspec.json.schema_components(
        (HostReport, Shown, ShownWaived), ref_template="#/$defs/{name}"
    )
    for key in PLACED:
        if key in definitions:
            definitions[key]["anyOf"] = [{"required": ["host"]}, {"required": ["hosts"]}]
    texts = {name: {"type": "string"} for name in ("started", "finished", "version")}
    run = {
        "type": "object",
        "properties": {
            **texts,
            "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
            "notices": {"type": "array", "items": {"type": "string"}},
        },
        "required": [*texts, "counts", "notices"],
    }
    kinds = {"run": run, "host": host, "finding": found, "waived": waived}
    return {
        **_head(LINES_SCHEMA, "One line of `hostaudit run --format ndjson`."),
        "type": "object",
        "properties": {"schema": {"const": LINES_SCHEMA}, "type": {"enum": list(kinds)}, "run": {"type": "string"}},
        "required": ["schema", "type", "run"],
        "oneOf": [{"allOf": [{"properties": {"type": {"const": name}}}, body]} for name, body in kinds.items()],
        "$defs": definitions,
    }
