"""The exceptions of ntkflow: one per place where bad input enters; and its warnings."""

import sys
import warnings


def warn(text: str) -> None:
    """Warn at the user's line that called ntkflow, however many of our functions lie between."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


class NtkflowError(ValueError):
    """Base of every error that ntkflow raises on purpose."""


class SpecError(NtkflowError):
    """The network specification is wrong: a key, a width, a variance, a learning rate."""


class ActivationError(NtkflowError):
    """The activation is unknown, not elementwise, or not finite."""


class DataError(NtkflowError):
    """The inputs X are wrong: shape, emptiness, NaN or Inf."""


class ParameterError(NtkflowError):
    """A network's parameters don't fit the MLP, or are not finite."""


class InteropError(NtkflowError):
    """Another library's network or activation is not of a kind that can be converted."""


class ComponentError(NtkflowError):
    """The components asked for don't exist, or this flow doesn't hold them."""


class MemoryRequestError(NtkflowError):
    """The components asked for would not fit in memory."""


class NonFiniteError(NtkflowError):
    """A tensor overflowed; the message names the layer and the tensor."""


class FileError(NtkflowError):
    """A file is missing, unreadable, foreign, or already there."""


class InUseError(FileError):
    """Another run is at work on a file or a store."""


class UnfinishedError(FileError):
    """A store is of a job of which not all is done yet."""


class WorkerError(NtkflowError, RuntimeError):
    """The workers of an executor died, or can't do what they are sent."""


class ObservableError(NtkflowError):
    """A function of preactivations can't be averaged: it isn't scalar, finite or traceable, or its text isn't allowed."""


class ForkError(NtkflowError, RuntimeError):
    """The process was forked from one that has used JAX, which can't work in it."""


class MissingExtraError(NtkflowError, ImportError):
    """A library is missing that only this part of ntkflow needs; the message says how to install it."""
