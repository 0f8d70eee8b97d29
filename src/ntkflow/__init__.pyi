# The public names, and where they are: `__init__.py` reads this file, and so do type checkers.
from . import errors as errors
from . import finite as finite
from . import interop as interop
from . import network as network
from . import observables as observables
from . import sampling as sampling
from . import training as training
from . import tuning as tuning
from ._comparison.comparison import Comparison, compare
from ._comparison.verification import Verification, verify
from ._diagnosis import Diagnosis, diagnose
from ._disk.load import load
from ._jobs.workers import workers
from ._theory.flow import flow, store_kernels
from ._theory.mean_kernels import kernels, open_kernels
from ._theory.result import Flow
from ._theory.statistics import LayerStatistics
from ._theory.traced import TracedFlow, TracedLayer, traced_flow
from .activations import Activation, kinked
from .finite import cross_entropy, mse
from .network import Block, Dense, Network, Stage, as_mlp, as_network, read_initialisation
from .network.mlp import MLP
from .observables import FirstStep, JointDistribution, joint, predict_first_step
from .sampling import Ensemble, LayerEstimates, OutputNTK, ensemble, output_ntk
from .training import Trained, trained, trained_from_store
from .tuning import (
    Criticality,
    Recipe,
    Sweep,
    critical,
    depth_for,
    learning_rate_transfer,
    sweep,
    tune,
    width_for,
)
from .version import __version__

__all__ = [
    "MLP",
    "Activation",
    "Block",
    "Comparison",
    "Criticality",
    "Dense",
    "Diagnosis",
    "Ensemble",
    "FirstStep",
    "Flow",
    "JointDistribution",
    "LayerEstimates",
    "LayerStatistics",
    "Network",
    "OutputNTK",
    "Recipe",
    "Stage",
    "Sweep",
    "TracedFlow",
    "TracedLayer",
    "Trained",
    "Verification",
    "__version__",
    "as_mlp",
    "as_network",
    "compare",
    "critical",
    "cross_entropy",
    "depth_for",
    "diagnose",
    "ensemble",
    "flow",
    "joint",
    "kernels",
    "kinked",
    "learning_rate_transfer",
    "load",
    "mse",
    "open_kernels",
    "output_ntk",
    "predict_first_step",
    "read_initialisation",
    "store_kernels",
    "sweep",
    "traced_flow",
    "trained",
    "trained_from_store",
    "tune",
    "verify",
    "width_for",
    "workers",
]
