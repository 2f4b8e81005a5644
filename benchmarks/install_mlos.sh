#!/bin/sh
# Makes a virtual environment with MLOS for overhead.py and the comparison: install_mlos.sh VENV
# With both of its optimizers, FLAML (its default) and SMAC, whose forest (pyrfr) is compiled here:
# needs a C++ compiler, Python 3.11 or 3.12 and its headers, half a gigabyte and some minutes.
set -eu
venv=${1:?usage: install_mlos.sh VENV}
here=$(cd "$(dirname "$0")" && pwd)
"${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip 'setuptools<77' wheel 'swig<4.3'
# pyrfr's build neither says that it needs swig, nor takes a newer one
export PATH="$venv/bin:$PATH"
pip --no-build-isolation pyrfr==0.9.0
pip -r "$here/mlos/requirements.txt"
"$venv/bin/mlos_bench" --help > /dev/null
echo "installed: $venv; now: python benchmarks/overhead.py --mlos-venv $venv"
