"""Settings. Whatever differs between two places where the image runs comes from the environment.

- ``ALLOWED_HOSTS``: host names this server answers to, comma separated. Default: localhost,127.0.0.1
- ``CSRF_TRUSTED_ORIGINS``: origins whose forms it accepts besides its own, comma separated. Default: none
- ``SECRET_KEY``: default: random, per process
- ``MODEL_FILE``: the trained model; set in the image
- ``MODEL_VERSION``: what /health and /predict report; set in the image
"""

import os
import secrets
from pathlib import Path


def listed(name: str, default: str = "") -> list[str]:
    """Split a comma-separated environment variable; blanks don't count."""
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


DEBUG = False
# Nothing here is signed: no sessions, no messages, and the CSRF cookie carries its own random value. So a key per
# process costs nobody a login, and no key has to be kept.
SECRET_KEY = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(50)

ALLOWED_HOSTS = listed("ALLOWED_HOSTS", "localhost,127.0.0.1")
# On Cloud Run TLS ends before the container: the browser says https://…, Django sees http://…, and a form is refused
# until the service's https address is named here.
CSRF_TRUSTED_ORIGINS = listed("CSRF_TRUSTED_ORIGINS")
CSRF_FAILURE_VIEW = "predictor.refusals.csrf_failure"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Strict"

MODEL_FILE = Path(os.environ.get("MODEL_FILE") or Path(__file__).resolve().parents[2] / "iris.json")
MODEL_VERSION = os.environ.get("MODEL_VERSION") or "dev"

# Six fields and a token fit. Django answers 400 to larger forms; /predict answers 413 with the same limit.
DATA_UPLOAD_MAX_MEMORY_SIZE = 4096
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20

INSTALLED_APPS = ["predictor"]
MIDDLEWARE = [
    "predictor.vertex.answer_vertex",
    "predictor.health.answer_health",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "predictor.urls"
WSGI_APPLICATION = "predictor.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES: dict[str, dict[str, str]] = {}
APPEND_SLASH = False
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

# One line per request is gunicorn's access log. From Django only what is broken: a 400 is the client's business.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "predictor.logs.JsonFormatter"}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
    "loggers": {
        "django": {"handlers": ["stdout"], "level": "ERROR", "propagate": False},
        # A wrong Host header is answered with what to do. Anybody can send one, so it fills no log with tracebacks.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}
