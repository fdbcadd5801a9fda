"""Files that are given where something else was expected: the edit that mends it, by their names.

Nothing is opened here.
"""

import os
import types
from pathlib import Path

HDF5 = 'host.RandomAccessSource(h5py.File(path)["image"])'
ARROW = "host.ArrowSource(path)"
NPZ = "MemorySource(data=dict(np.load(path))), or save each array as .npy"
_OF_FILES = types.MappingProxyType(
    {
        ".h5": HDF5,
        ".hdf5": HDF5,
        ".zarr": "host.RandomAccessSource(zarr.open_array(path))",
        ".npy": "host.DiskSource(path)",
        ".npz": NPZ,
        ".arrow": ARROW,
        ".feather": ARROW,
        ".parquet": ARROW,
    }
)


def mend_of_file(path: str | os.PathLike[str]) -> str | None:
    """What reads a file of this name; None where that is not known."""
    return _OF_FILES.get(Path(path).suffix)
