"""The console: what the sandbox holds, as pages for a browser, read with the rights of whoever is signed in.

`http://127.0.0.1:PORT/console`. It stands for console.cloud.google.com. Deployed services answer at
`http://localhost:PORT/...`: for a browser that is another origin, so no page of theirs reads or drives the console.
"""
