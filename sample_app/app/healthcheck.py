"""Ask the server in this container how it is. Exit 0 if it answers 200, else 1.

The slim image has no curl, and doesn't need one: Python is there.
"""

import http.client
import os
import sys


def main() -> int:
    """GET /health on the loopback address, with 2 s to answer."""
    port = int(os.environ.get("AIP_HTTP_PORT") or os.environ.get("PORT", "8080"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"No answer from /health: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    print(f"/health answers {status}")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
