"""Store notebooks with outputs in one canonical form."""
