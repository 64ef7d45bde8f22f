"""A Django project that names an iris from four lengths."""
