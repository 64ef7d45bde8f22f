"""A Git host that takes github.com's place: repositories over HTTP, users, pull requests, check runs, events.

    http://localhost:5001/github.com/OWNER/NAME.git        git's protocol
    http://localhost:5001/api.github.com/...               the part of GitHub's REST API that a pipeline uses

Only the plain port serves it. The edge never answers for github.com, and its certificate authority may not.
This package does not depend on Google's services. Cloud Build learns of a push through `events`.
"""

HOSTS = ("github.com", "api.github.com")
