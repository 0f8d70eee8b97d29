"""Examples of every command, as its --help shows them; the tests run all of them in this order."""

EXAMPLES = {
    "diagnose": (
        "ntkflow diagnose net.toml --data X.npy --plot diagnosis.png",
        "ntkflow diagnose mymodel:make_model --data X.npy",
    ),
    "critical": ("ntkflow critical gelu", "ntkflow critical '{name = \"elu\", alpha = 0.5}'"),
    "tune": ("ntkflow tune net.toml --data X.npy --loss mse -o recipe.toml",),
    "sweep": ("ntkflow sweep net.toml --data X.npy --widths 64,128 --depths 2,4,8 -o sweep.nc",),
    "flow": (
        "ntkflow flow net.toml --data X.npy -o flow.nc --plot flow.png",
        "ntkflow flow mymodel:make_model --data X.npy --components pairs -o pairs.nc",
        "ntkflow flow net.toml --data X.npy -o flow.zarr --memory 2GiB --workers 2",
        "ntkflow flow net.toml --data X.npy --components mean --tile 1024 -o K.zarr",
    ),
    "ensemble": (
        "ntkflow ensemble net.toml --data X.npy --draws 2000 -o run.zarr",
        "ntkflow ensemble net.toml --data X.npy --draws 4000 -o run.zarr --resume",
    ),
    "compare": ("ntkflow compare flow.nc run.zarr --plot compared.png",),
    "verify": ("ntkflow verify net.toml --data X.npy --widths 16,32,64 --draws 2000",),
    "observe": ('ntkflow observe flow.nc --layer 2 --f "tanh(z[0])**2" --g "z[0]*z[1]"',),
    "first-step": ("ntkflow first-step flow.nc --targets y.npy --eta 0.1",),
    "trained": (
        "ntkflow trained net.toml --data X.npy --targets y.npy --data2 X_test.npy",
        "ntkflow trained net.toml --data X.npy --targets y.npy --time 3 --order 1",
        "ntkflow trained K.zarr --targets y.npy --steps 100 --eta 0.01",
    ),
    "ntk": ("ntkflow ntk net.toml --data X.npy --seed 0 -o ntk.nc",),
    "report": (
        "ntkflow report net.toml --data X.npy -o network.html",
        "ntkflow report flow.nc run.zarr --no-inputs -o compared.html",
    ),
    "show": ("ntkflow show flow.nc --accuracy",),
    "check": ("ntkflow check flow.zarr",),
}


def epilog(command: str) -> str:
    """The end of a command's help, a paragraph for each line."""
    return "\n\n".join(("Examples:", *EXAMPLES[command]))
