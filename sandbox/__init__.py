"""A local Google Cloud, as far as the workbook goes.

One process, two doors on loopback, one dispatch table behind them (`sandbox.app`):

* the edge (`sandbox.doors.edge`), an HTTPS proxy that ends TLS for Google's hosts, so that gcloud, Google's Python
  clients and curl need no endpoint setting;
* the plain port, where a Google host name is the first part of the path
  (`http://localhost:5001/artifactregistry.googleapis.com/v1/...`), and where Docker finds `/v2/`.

It answers with Google's names, messages and status codes. Where Google's answer is unknown, the code says
`# unverified`. It refuses what it does not implement with 501 and a sentence, and never pretends.
"""

from sandbox.api import message_packages

message_packages.install()

__version__ = "0.1.0"
