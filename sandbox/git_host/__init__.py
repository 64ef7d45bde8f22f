"""A Git host that stands in for github.com: repositories over HTTP, users, pull requests, check runs, events.

    http://localhost:5001/github.com/OWNER/NAME.git        what git speaks
    http://localhost:5001/api.github.com/...               the part of GitHub's REST API that a pipeline meets

Only the plain port serves it: the edge never answers for github.com, and its certificate authority may not.
Nothing of Google is in here; Cloud Build hears of a push through `events`.
"""

HOSTS = ("github.com", "api.github.com")
