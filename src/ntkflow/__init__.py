"""ntkflow: the statistics of the neural tangent kernel at the width you really use.

Nothing heavy is imported before a name is used: JAX alone takes longer than `ntkflow --help` may.
"""

import lazy_loader

from .version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
