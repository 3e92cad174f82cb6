"""Write a data set out in the on-disk formats of the paper's data sets: birds with the file names of CUB.

The loaders are tested on what these functions write, and the paper's presets can be tried without its data sets.
"""

from partlib.data.export_cub import export_cub

__all__ = ["export_cub"]
