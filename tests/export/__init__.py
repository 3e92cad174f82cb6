"""Write a data set out: in the formats of the paper's data sets, or as a plain folder of images and masks.

The loaders are tested on what these functions write, and the paper's presets can be tried without its data sets.
"""

from tests.export.cub import export_cub
from tests.export.deepfashion import export_deepfashion
from tests.export.folder import export_folder
from tests.export.pascal import export_pascal_part

__all__ = ["export_cub", "export_deepfashion", "export_folder", "export_pascal_part"]
