"""One session, one client, one REST call: how helpers reach Google."""
