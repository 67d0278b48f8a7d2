"""Settings, read from the environment with embedded defaults. Reference: `docs/reference/settings.md`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from django.utils.translation import gettext_lazy as _

from tuneyard import env
from tuneyard.settings import homes

BASE_DIR = Path(__file__).resolve().parents[3]
HOME = env.folder("TUNEYARD_HOME", BASE_DIR / "var")
RUN_DIR = homes.run_dir(HOME)

DEBUG = env.boolean("TUNEYARD_DEBUG", False)
SECRET_KEY = env.secret("TUNEYARD_SECRET_KEY", HOME / "secret.key")

PORT = env.integer("TUNEYARD_PORT", 8700, low=1, high=65535)
SERVING_PORT = env.integer("TUNEYARD_SERVING_PORT", 8701, low=1, high=65535)
BIND_HOST = env.text("TUNEYARD_HOST", "127.0.0.1")
PUBLIC_URL = env.text("TUNEYARD_PUBLIC_URL", f"http://{homes.shown_host(BIND_HOST)}:{PORT}").rstrip("/")
SERVING_URL = env.text("TUNEYARD_SERVING_URL", homes.with_port(PUBLIC_URL, SERVING_PORT)).rstrip("/")
#: Where this process reaches the front itself; differs from SERVING_URL behind a proxy.
SERVING_INTERNAL_URL = env.text("TUNEYARD_SERVING_INTERNAL_URL", f"http://127.0.0.1:{SERVING_PORT}").rstrip("/")
#: Where the serving port reaches this process, to load and unload on behalf of its callers.
CONTROL_URL = env.text("TUNEYARD_CONTROL_URL", f"http://127.0.0.1:{PORT}")
ALLOWED_HOSTS = [
    *(env.items("TUNEYARD_ALLOWED_HOSTS") or homes.allowed_hosts(BIND_HOST, PUBLIC_URL)),
    urlsplit(CONTROL_URL).hostname or "localhost",
]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
HTTPS = PUBLIC_URL.startswith("https://")

INSTALLED_APPS = [
    "apps.core",
    "apps.accounts",
    "apps.datasets",
    "apps.registry",
    "apps.jobs",
    "apps.compression",
    "apps.deployments",
    "apps.monitoring",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.core.middleware.RequestIdMiddleware",
    "apps.core.middleware.ApiSlashMiddleware",
    "apps.core.middleware.ErrorShapeMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "apps.accounts.middleware.PageLoginMiddleware",
    "apps.accounts.middleware.WorkspaceMiddleware",
    "apps.accounts.middleware.PasswordChangeMiddleware",
    "apps.core.middleware.SecurityPolicyMiddleware",
]

ROOT_URLCONF = "tuneyard.urls"
WSGI_APPLICATION = "tuneyard.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.core.context_processors.interface",
            ],
        },
    }
]

# --- data -----------------------------------------------------------------------------------------------------------

DATABASE_URL = env.text("DATABASE_URL", f"sqlite:///{HOME / 'tuneyard.sqlite3'}")
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=60, conn_health_checks=True)}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Web, workers and beat all write: WAL, and a write lock taken at BEGIN so that waiting is the busy timeout's job.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STORAGE_URL = env.storage("STORAGE_URL", HOME / "storage")
JOBS_DIR = HOME / "jobs"
BUNDLES_DIR = HOME / "bundles"
SERVING_DIR = HOME / "serving"
#: Folders from which a Hugging Face folder may be imported.
MODEL_PATHS = [HOME / "models", *env.paths("TUNEYARD_MODEL_PATHS")]
#: Where base models lie that were fetched or unpacked, one folder each; web, workers and launcher share it.
BASE_MODELS_DIR = HOME / "base-models"
#: The most that one imported base model may hold, fetched or unpacked.
MODEL_LIMIT_BYTES = env.integer("TUNEYARD_MODEL_LIMIT_MB", 20480, low=1, high=1 << 20) * 1024 * 1024
#: The hub that base models come from; empty for the client's own.
HUB_URL = env.url("TUNEYARD_HUB_URL") or env.url("HF_ENDPOINT")
#: Read where it is used, by workers only.
HUB_TOKEN = env.text("HF_TOKEN")

REDIS_URL = env.text("REDIS_URL", f"unix://{RUN_DIR / 'redis.sock'}")
MLFLOW_TRACKING_URI = env.text("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
#: How long a worker's lease on a job lasts without a heartbeat; after it, the next worker takes the job over.
JOB_LEASE_S = env.integer("TUNEYARD_JOB_LEASE_S", 30, low=2, high=600)
LAUNCHER_SOCKET = env.folder("TUNEYARD_LAUNCHER_SOCKET", RUN_DIR / "launcher.sock")

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "core_cache",
    }
}

# --- uploads --------------------------------------------------------------------------------------------------------

UPLOAD_LIMIT_BYTES = env.integer("TUNEYARD_UPLOAD_LIMIT_MB", 4096, low=1, high=1 << 20) * 1024 * 1024
# On the disk of the storage, so that an upload is moved into place, not copied; Django refuses to start without it.
FILE_UPLOAD_TEMP_DIR = HOME / "storage" / "incoming"
FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
FILE_UPLOAD_HANDLERS = ["apps.core.uploads.HashingUploadHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

# --- accounts -------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "apps.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = None
ACCOUNT_PREVENT_ENUMERATION = True
#: Per address and per name tried; counted in the cache, which all web processes share.
ACCOUNT_RATE_LIMITS = {"login": "30/m/ip", "login_failed": "20/m/ip,5/5m/key"}
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if env.boolean("TUNEYARD_BEHIND_PROXY", False) else 0
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
#: Nobody is written to because a stranger named their address here.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
_MAIL = env.email("EMAIL_URL")
vars().update(_MAIL)
#: Else a page that sends mail says where it ends up.
MAIL_DELIVERED: bool = "EMAIL_HOST" in _MAIL
DEFAULT_FROM_EMAIL = env.text("TUNEYARD_FROM_EMAIL", "Tuneyard <tuneyard@localhost>")

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.boolean("TUNEYARD_BEHIND_PROXY", False) else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
# Cookies do not know ports: a second instance on the same host must not sign the first one out.
SESSION_COOKIE_NAME = f"tuneyard_session_{PORT}"
CSRF_COOKIE_NAME = f"tuneyard_csrf_{PORT}"
X_FRAME_OPTIONS = "DENY"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
CSRF_FAILURE_VIEW = "apps.core.error_pages.csrf_failure"

# --- interface ------------------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = "tuneyard.formats"
LANGUAGE_COOKIE_NAME = "tuneyard_language"
TIME_ZONE = env.text("TUNEYARD_TIME_ZONE", "UTC")
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = env.folder("TUNEYARD_STATIC_ROOT", HOME / "static")
# The worker's image has no such folder, and in the web's it is the collected one.
STATICFILES_DIRS = [path for path in (BASE_DIR / "static",) if path.is_dir() and path != STATIC_ROOT]
#: Only an image names a collected folder. Elsewhere WhiteNoise serves from the finders: no extra step, never stale.
WHITENOISE_USE_FINDERS = not env.text("TUNEYARD_STATIC_ROOT")
WHITENOISE_AUTOREFRESH = DEBUG

SILENCED_SYSTEM_CHECKS: list[str] = []

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        # The hub's client. Its lines hold signed addresses.
        "httpx2": {"level": "WARNING"},
        "httpcore2": {"level": "WARNING"},
        # Two lines for each message, and sweeps send one every few seconds.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        # Of each sweep's message that became void while its worker was busy: that is what they expire for.
        "celery.worker.request": {"level": "WARNING"},
    },
}
