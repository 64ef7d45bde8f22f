"""Is a Google project ready for a run?"""
