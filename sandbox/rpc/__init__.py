"""gRPC behind the edge: the way in which Google's Python clients speak unless told otherwise.

    schema        which calls there are: message types and HTTP rules, out of Google's published packages
    transcoding   a gRPC call as the HTTP request that it stands for, and the answer back; pure
    door          the listener

A gRPC call of Google's APIs is defined by its HTTP rule (https://google.aip.dev/127), so nothing is implemented twice:
each call is put to the same dispatch table as an HTTP request, with the caller's own credentials.
"""
