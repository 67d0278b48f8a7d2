"""The API whose OpenAPI document also says how calls fail."""

from __future__ import annotations

from typing import Any

from ninja import NinjaAPI
from ninja.errors import ConfigError
from ninja.openapi.schema import OpenAPISchema

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "fields", "hint", "request_id"],
            "properties": {
                "code": {"type": "string", "description": "Stable; listed in docs/reference/errors.md."},
                "message": {"type": "string", "description": "What happened, for people."},
                "fields": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "What is wrong by the path of the input, e.g. `params.epochs`.",
                },
                "hint": {"type": "string", "description": "What to do."},
                "request_id": {"type": "string", "description": "Also in the header X-Request-ID, and in the log."},
            },
        }
    },
}


class _Document(OpenAPISchema):
    """Refuses two schemas of one name: the document would describe one by the other."""

    def add_schema_definitions(self, definitions: dict[str, Any]) -> None:
        for name, definition in definitions.items():
            if self.schemas.get(name, definition) != definition:
                raise ConfigError(f"Two schemas are named {name}; give one of them another name.")
        super().add_schema_definitions(definitions)


class DocumentedAPI(NinjaAPI):
    """Adds the error shape as the default answer of every operation."""

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        schema = _Document(self, self.get_root_path(path_params or {}) if path_prefix is None else path_prefix)
        schema["components"].setdefault("schemas", {})["Error"] = _ERROR
        reference = {"schema": {"$ref": "#/components/schemas/Error"}}
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"]["default"] = {
                    "description": "Refused, or failed: always this shape.",
                    "content": {"application/json": reference},
                }
        return schema
