# The public names, and where they are: `__init__.py` reads this file, and so do type checkers.
from . import errors as errors
from . import finite as finite
from . import interop as interop
from . import observables as observables
from . import sampling as sampling
from .activations import Activation, kinked
from .comparison import Comparison, compare
from .diagnosis import Diagnosis, diagnose
from .errors import (
    ActivationError,
    ComponentError,
    DataError,
    FileError,
    InteropError,
    MemoryRequestError,
    MissingExtraError,
    NonFiniteError,
    NtkflowError,
    ObservableError,
    ParameterError,
    SpecError,
)
from .finite import (
    History,
    LayerParameters,
    LearningRates,
    cross_entropy,
    forward,
    gradient_step,
    init,
    interlayer_ntk,
    jacobian,
    mse,
    ntk,
    ntk_by_definition,
    ntk_contributions,
    ntk_layers,
    ntk_trace,
    plain,
    predicted_change,
    predicted_loss_change,
    tensorial,
    train,
)
from .flow_result import Flow
from .mean_kernels import kernels, open_kernels
from .mlp import MLP
from .network import as_mlp, read_initialisation
from .observables import FirstStep, JointDistribution, interlayer, joint, predict_first_step
from .propagate import flow, store_kernels
from .sampling import Ensemble, LayerEstimates, OutputNTK, draw_key, ensemble, output_ntk
from .statistics import LayerStatistics
from .traced import TracedLayer, traced_flow
from .tuning import Criticality, critical
from .verification import Verification, verify
from .version import __version__

__all__ = [
    "MLP",
    "Activation",
    "ActivationError",
    "Comparison",
    "ComponentError",
    "Criticality",
    "DataError",
    "Diagnosis",
    "Ensemble",
    "FileError",
    "FirstStep",
    "Flow",
    "History",
    "InteropError",
    "JointDistribution",
    "LayerEstimates",
    "LayerParameters",
    "LayerStatistics",
    "LearningRates",
    "MemoryRequestError",
    "MissingExtraError",
    "NonFiniteError",
    "NtkflowError",
    "ObservableError",
    "OutputNTK",
    "ParameterError",
    "SpecError",
    "TracedLayer",
    "Verification",
    "__version__",
    "as_mlp",
    "compare",
    "critical",
    "cross_entropy",
    "diagnose",
    "draw_key",
    "ensemble",
    "flow",
    "forward",
    "gradient_step",
    "init",
    "interlayer",
    "interlayer_ntk",
    "jacobian",
    "joint",
    "kernels",
    "kinked",
    "mse",
    "ntk",
    "ntk_by_definition",
    "ntk_contributions",
    "ntk_layers",
    "ntk_trace",
    "open_kernels",
    "output_ntk",
    "plain",
    "predict_first_step",
    "predicted_change",
    "predicted_loss_change",
    "read_initialisation",
    "store_kernels",
    "tensorial",
    "traced_flow",
    "train",
    "verify",
]
