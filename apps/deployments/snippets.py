"""How to call an endpoint, in the caller's language, with the real address and a real example filled in."""

from __future__ import annotations

import json
from typing import Any

LANGUAGES = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}


def snippet(language: str, *, url: str, example: dict[str, Any]) -> str:
    """A program that asks `url` about `example`; it reads the token from TUNEYARD_TOKEN."""
    body = json.dumps({"inputs": example["inputs"]}, ensure_ascii=False)
    if language == "python":
        return (
            "import os\n"
            "import httpx\n\n"
            f'answer = httpx.post(\n    "{url}",\n'
            '    headers={"Authorization": f"Bearer {os.environ[\'TUNEYARD_TOKEN\']}"},\n'
            f"    json={_python(body)},\n)\n"
            "answer.raise_for_status()\n"
            'print(answer.json()["outputs"])\n'
        )
    if language == "javascript":
        return (
            f'const answer = await fetch("{url}", {{\n'
            '  method: "POST",\n'
            "  headers: {\n"
            "    Authorization: `Bearer ${process.env.TUNEYARD_TOKEN}`,\n"
            '    "Content-Type": "application/json",\n'
            "  },\n"
            f"  body: JSON.stringify({body}),\n}});\n"
            "if (!answer.ok) throw new Error(await answer.text());\n"
            "console.log((await answer.json()).outputs);\n"
        )
    quoted = body.replace("'", "'\\''")
    return (
        f"curl {url} \\\n"
        '  -H "Authorization: Bearer $TUNEYARD_TOKEN" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{quoted}'\n"
    )


def _python(body: str) -> str:
    return repr(json.loads(body))
