"""Write a data set out in the on-disk formats of the paper's data sets: birds with the file names of CUB.

The loaders are tested on what these functions write, and the paper's presets can be tried without its data sets.
"""

from partlib.data.export_cub import export_cub
from partlib.data.export_deepfashion import export_deepfashion
from partlib.data.export_pascal import export_pascal_part

__all__ = ["export_cub", "export_deepfashion", "export_pascal_part"]
