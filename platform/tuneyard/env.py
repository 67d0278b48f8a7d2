"""Typed readers of environment variables, which refuse nonsense by name. Knows no setting itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
#: Of a secret that signs sessions, at least; 32 hexadecimal digits are 128 bits.
_SECRET_LENGTH = 32


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def boolean(name: str, default: bool) -> bool:
    value = os.environ.get(name)
    if value is None:
        return default
    if value.strip().lower() in _TRUE:
        return True
    if value.strip().lower() in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be one of 1, 0, true, false, yes, no, on, off; it is {value!r}.")


def integer(name: str, default: int, *, low: int, high: int) -> int:
    value = text(name)
    if not value:
        return default
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number; it is {value!r}.") from None
    if not low <= number <= high:
        raise ImproperlyConfigured(f"{name} must lie between {low} and {high}; it is {number}.")
    return number


def folder(name: str, default: Path) -> Path:
    """An absolute folder; it need not exist yet."""
    value = text(name)
    return Path(value).expanduser().resolve() if value else default


def paths(name: str) -> list[Path]:
    """Folders separated by `:`."""
    return [Path(part).expanduser().resolve() for part in text(name).split(":") if part]


def items(name: str) -> list[str]:
    """Words separated by commas."""
    return [part.strip() for part in text(name).split(",") if part.strip()]


def storage(name: str, default: Path) -> str:
    """The address of a file store: a folder, `file:///folder` or `s3://bucket/prefix`."""
    value = text(name, default.as_uri())
    parts = urlsplit(value)
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc and not parts.query:
        return value
    if parts.scheme in {"", "file"} and not parts.netloc and parts.path.startswith("/"):
        return value
    # An address with an @ may hold a secret, and this message goes to a log.
    shown = repr(value) if "@" not in value else "one with credentials in it"
    raise ImproperlyConfigured(
        f"{name} must be a folder's full path, file:///folder or s3://bucket/prefix; it is {shown}. "
        "Credentials of S3 go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, another endpoint into AWS_ENDPOINT_URL."
    )


def url(name: str) -> str:
    """An address with http or https and a host, without a slash at the end; empty where it is not set."""
    value = text(name).rstrip("/")
    parts = urlsplit(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ImproperlyConfigured(f"{name} must begin with http:// or https:// and name a host; it is {value!r}.")
    return value


_MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


def email(name: str) -> dict[str, Any]:
    """Django's mail settings from `smtp://`, `smtp+tls://` or `smtps://user:password@host:port`.

    Without the variable, or with `console:`, mails go to the log of the web process; with `file:/folder` each becomes a
    file there.
    """
    value = text(name, "console:")
    parts = urlsplit(value)
    backend = "django.core.mail.backends.{}.EmailBackend"
    if parts.scheme == "console":
        return {"EMAIL_BACKEND": backend.format("console")}
    if parts.scheme == "file" and Path(parts.path).is_absolute() and not parts.hostname:
        return {"EMAIL_BACKEND": backend.format("filebased"), "EMAIL_FILE_PATH": parts.path}
    if parts.scheme not in _MAIL_PORTS or not parts.hostname:
        raise ImproperlyConfigured(
            f"{name} must be console:, file:/folder, or smtp://, smtp+tls:// or smtps:// with a host."
        )
    return {
        "EMAIL_BACKEND": backend.format("smtp"),
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or _MAIL_PORTS[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": 10,
    }


def secret(name: str, file: Path) -> str:
    """The variable `name`, else the file named by `name_FILE`, else the content of `file`, made on first use (0600).

    A variable that is set to blanks is refused: whoever sets it means it to hold the secret.
    """
    if os.environ.get(name):
        return _long_enough(name, text(name))
    if named := text(f"{name}_FILE"):
        try:
            return _long_enough(f"The file named in {name}_FILE", Path(named).read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            raise ImproperlyConfigured(f"The file {named}, named in {name}_FILE, cannot be read: {error}") from None
    if not file.exists():
        import secrets

        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return file.read_text().strip()
        with os.fdopen(descriptor, "w") as handle:
            handle.write(secrets.token_urlsafe(50))
    return file.read_text().strip()


def _long_enough(where: str, value: str) -> str:
    if len(value) < _SECRET_LENGTH:
        raise ImproperlyConfigured(
            f"{where} must hold {_SECRET_LENGTH} characters or more; it holds {len(value)}. "
            "`openssl rand -hex 32` makes one."
        )
    return value
