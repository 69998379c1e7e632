"""Layouts of datasets that other projects use, for `python -m mmrec.data.convert`."""
