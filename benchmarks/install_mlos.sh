#!/bin/sh
# Makes a virtual environment with MLOS for overhead.py: install_mlos.sh VENV
# Its default optimizer only (FLAML); half a gigabyte. Needs Python 3.11 or 3.12.
set -eu
venv=${1:?usage: install_mlos.sh VENV}
here=$(cd "$(dirname "$0")" && pwd)
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/mlos/requirements.txt"
"$venv/bin/mlos_bench" --help > /dev/null
echo "installed: $venv; now: python benchmarks/overhead.py --mlos-venv $venv"
