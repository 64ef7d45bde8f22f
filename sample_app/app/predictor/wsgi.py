"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "predictor.settings")
application = get_wsgi_application()

# Django reads routes and views at the first request. Reading them now loads the model, so that a broken one stops the
# start of the server, and the first visitor doesn't wait.
import predictor.urls  # noqa: E402, F401
