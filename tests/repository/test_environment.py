"""conda's environment, Colab and the package agree on what is needed."""

import re
import subprocess
import sys

import yaml
from partlib_course import notebook

from tests.conftest import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def environment():
    """Requirements of environment.yml as (conda's, pip's)."""
    listed = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (from_pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    return [entry for entry in listed if isinstance(entry, str)], from_pip


def test_environment_installs_the_packages_and_notebooks_of_pyproject():
    from_conda, from_pip = environment()
    packages = [re.sub(r"^pytorch(-cpu)?\b", "torch", entry) for entry in from_conda]  # conda-forge's name for it
    packages = [entry for entry in packages if not re.match(r"(python|pip)\b", entry)]
    packages += [line for line in from_pip if not line.startswith("-")]
    wanted = project()["dependencies"] + project()["optional-dependencies"]["notebooks"]
    assert sorted(packages) == sorted(wanted)
    assert "--editable ." in from_pip


def test_environment_has_a_python_that_the_package_supports():
    (pinned,) = (entry for entry in environment()[0] if entry.startswith("python="))
    least = re.fullmatch(r">=3\.(\d+)", project()["requires-python"])
    assert int(pinned.split(".")[1]) >= int(least[1])


def test_colab_has_or_gets_every_package():
    there = "torch torchvision numpy pandas scipy scikit-learn scikit-image opencv-python-headless matplotlib seaborn"
    packages = {*notebook.COLAB.split(), *there.split(), "tqdm", "requests", "Pillow"}
    assert [line for line in project()["dependencies"] if line.partition(">=")[0] not in packages] == []


def test_help_does_not_wait_for_torch():
    code = "import sys, partlib.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
