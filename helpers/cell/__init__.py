"""The code behind notebook cells, which notebooks don't import."""
