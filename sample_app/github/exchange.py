"""What google-github-actions/auth does, step by step: GitHub's token is exchanged for Google's. Prints no token."""

import base64
import json
import os
import urllib.request


def ask(url, body=None, token=""):
    """Return the JSON that comes back."""
    data = json.dumps(body).encode() if body else None
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - https, below
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(asked) as answer:  # noqa: S310
        return json.load(answer)


provider, pusher = os.environ["PROVIDER"], os.environ["PUSHER"]
scope = "https://www.googleapis.com/auth/cloud-platform"

audience = f"https://iam.googleapis.com/{provider}"
url = os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"] + f"&audience={audience}"
subject = ask(url, token=os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"])["value"]
claims = subject.split(".")[1]
claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
for name in ("iss", "sub", "repository", "ref", "workflow_ref", "actor"):
    print("1 GitHub says", name, "=", claims[name])

exchange = {
    "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
    "requestedTokenType": "urn:ietf:params:oauth:token-type:access_token",
    "subjectTokenType": "urn:ietf:params:oauth:token-type:jwt",
    "scope": scope,
    "audience": f"//iam.googleapis.com/{provider}",
    "subjectToken": subject,
}
federated = ask("https://sts.googleapis.com/v1/token", exchange)
print("2 Google takes it:", federated["token_type"], federated["issued_token_type"])

url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{pusher}:generateAccessToken"
answer = ask(url, {"scope": [scope]}, federated["access_token"])
print("3 and lets it act as", pusher.partition("@")[0], "with", sorted(answer))
