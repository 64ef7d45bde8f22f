"""How gunicorn serves the project. Read from the working directory, so no command line has to repeat it."""

import os

wsgi_app = "predictor.wsgi"
# Cloud Run says in PORT where to listen, Vertex AI in AIP_HTTP_PORT. The image sets PORT, so the other comes first.
bind = f"0.0.0.0:{os.environ.get('AIP_HTTP_PORT') or os.environ.get('PORT', '8080')}"
# One process: Cloud Run adds instances, not workers. Threads let a slow client wait without holding up the others.
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
threads = 4
timeout = 30
graceful_timeout = 5
# Gunicorn writes a heartbeat file. /dev/shm is writable even under `docker run --read-only`.
_MEMORY = "/dev/shm"  # noqa: S108 - gunicorn makes a private file in it
worker_tmp_dir = _MEMORY if os.access(_MEMORY, os.W_OK) else None
# The control socket wants a writable home folder, and nobody in here talks to it.
control_socket_disable = True
accesslog = "-"
logger_class = "predictor.logs.JsonLogger"
