"""Deployed services: their rows, their revisions as running containers, and the front end that leads to them."""
