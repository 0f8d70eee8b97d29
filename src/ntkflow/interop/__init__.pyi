from . import equinox as equinox
from . import flax as flax
from . import optax as optax
from . import torch as torch
