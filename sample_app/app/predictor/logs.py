"""One line of JSON per event, on standard output, with the field names that Cloud Logging understands.

Source of the names: "Structured logging" and "HttpRequest" in Google Cloud Logging's documentation. A log that is read
elsewhere is still plain JSON, one object a line.
"""

import json
import logging
import sys
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger


class JsonFormatter(logging.Formatter):
    """``{"severity", "message", "httpRequest"?}``. A traceback becomes part of the message, so it stays one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        entry: dict[str, Any] = {"severity": record.levelname, "message": message}
        http_request = getattr(record, "http_request", None)
        if http_request is not None:
            entry["httpRequest"] = http_request
        return json.dumps(entry)


class JsonLogger(Logger):  # type: ignore[misc]
    """Gunicorn's logger with both of its logs, errors and access, as JSON on standard output."""

    def setup(self, cfg: Any) -> None:
        """Let gunicorn set up its handlers, then point them at standard output."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                if isinstance(handler, logging.StreamHandler):
                    handler.setStream(sys.stdout)
                handler.setFormatter(JsonFormatter())

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Write the line of one finished request. The query string stays out: it may hold what a visitor typed."""
        status = int(str(resp.status).split(" ", 1)[0])
        path = str(environ.get("PATH_INFO", ""))
        http_request = {
            "requestMethod": environ.get("REQUEST_METHOD"),
            "requestUrl": path,
            "status": status,
            "responseSize": str(resp.sent or 0),
            "latency": f"{request_time.total_seconds():.6f}s",
            "remoteIp": environ.get("REMOTE_ADDR"),
            "userAgent": environ.get("HTTP_USER_AGENT"),
        }
        level = logging.ERROR if status >= 500 else logging.INFO
        self.access_log.log(
            level, "%s %s %d", environ.get("REQUEST_METHOD"), path, status, extra={"http_request": http_request}
        )
