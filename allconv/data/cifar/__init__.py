"""CIFAR-10 from disk: found where people keep it, downloaded if need be, and read without trusting the files.

`find` knows the places and the official names, `download` fetches the official archive, and `read` turns the files
into data sets. Two readers serve `read`: `archive` for the .tar.gz, and `unpickle` for the pickled layout.
"""

from allconv.data.cifar.find import find_cifar10
from allconv.data.cifar.read import CLASSES, cifar10

__all__ = ["CLASSES", "cifar10", "find_cifar10"]
