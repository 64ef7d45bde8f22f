"""A local Google Cloud, as far as the workbook goes.

One process, two doors on loopback, one dispatch table behind them (`sandbox.app`):

* the edge (`sandbox.doors.edge`), an HTTPS proxy that ends TLS for Google's hosts, so that gcloud, Google's Python
  clients and curl need no endpoint setting;
* the plain port, where a Google host name is the first part of the path
  (`http://localhost:5001/artifactregistry.googleapis.com/v1/...`), and where Docker finds `/v2/`.

What it does, it does as Google does: names, messages and status codes. Where Google's answer is not known the code
says `# unverified`. What it does not do, it refuses with 501 and a sentence; it never pretends.
"""

from sandbox.api import message_packages

message_packages.install()

__version__ = "0.1.0"
