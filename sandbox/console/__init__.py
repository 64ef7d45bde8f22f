"""The console: web pages that show the sandbox's content with the rights of the user who is signed in.

It takes the place of console.cloud.google.com, at `http://127.0.0.1:PORT/console`. Deployed services are served at
`http://localhost:PORT/...`, which is another origin for a browser, so that their pages can't use the console.
"""
