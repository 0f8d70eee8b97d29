"""Networks of other libraries: each module needs the library it is named after, which is imported when it is used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
