#!/usr/bin/env bash
# What has to hold on a GPU, in at most ten minutes; a table after each step, so that a run that is cut off says something.
#   benchmarks/gpu/check.sh [STEP …]     unpack tests sizes learning (all of them by default)
#   DEVICE=cpu benchmarks/gpu/check.sh   the same on a CPU, with sizes that a rehearsal bears
# Results go to $OUT (outputs/gpu by default). On a machine without network, prepare.sh's folder .needs has to be here.
set -uo pipefail
cd "$(dirname "$0")/../.."
export DEVICE=${DEVICE:-cuda} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
python=${PYTHON:-python3} needs=benchmarks/gpu/.needs
out=${OUT:-outputs/gpu} place=${PLACE:-${TMPDIR:-/tmp}/gpu-check}
weights=$place; [ -w /dev/shm ] && weights=/dev/shm/gpu-check # random weights of 16 GB: memory is faster than any disk
mkdir -p "$out" "$place" "$weights"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
[ -d "$place/site" ] && export PYTHONPATH="$place/site:$PYTHONPATH"
failed=0

unpack() { # packages first; the model once all its parts are there
  cp -n "$needs"/* "$place"/ 2> /dev/null
  if [ -f "$place/packages.tar.xz" ] && [ ! -d "$place/site" ]; then
    tar --extract --xz --directory "$place" --file "$place/packages.tar.xz"
    [ -d "$place/site" ] && [ "$DEVICE" = cuda ] && export PYTHONPATH="$place/site:$PYTHONPATH"
  fi
  "$python" -c 'import bitsandbytes, peft, torch, transformers, trl
print("torch", torch.__version__, "transformers", transformers.__version__, "trl", trl.__version__, "peft", peft.__version__,
      "bitsandbytes", bitsandbytes.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")'
}

model() { # SmolLM2-135M-Instruct from its parts
  cp -n "$needs"/model.* "$place"/ 2> /dev/null
  [ -f "$place/smollm2/model.safetensors" ] && return
  mkdir -p "$place/gguf-model" && cat "$place"/model.? > "$place/gguf-model/model.gguf" &&
    PYTHONPATH="$place/gguf${PYTHONPATH:+:$PYTHONPATH}" "$python" benchmarks/gpu/from_gguf.py "$place/gguf-model" "$place/smollm2"
}

tests() { "$python" -m pytest -m gpu tests/stages -q -p no:cacheprovider --durations=8 ${TESTS:-} 2>&1 | tee "$out/tests.txt"; }
sizes() { "$python" benchmarks/gpu/sizes.py --weights "$weights" --device "$DEVICE" --to "$out/sizes.md" ${SIZES:-}; }
learning() { model && "$python" benchmarks/gpu/learning.py --model "$place/smollm2" --device "$DEVICE" --to "$out/learning.md"; }

for step in "${@:-all}"; do
  for one in $([ "$step" = all ] && echo unpack tests sizes learning || echo "$step"); do
    began=$SECONDS
    "$one" && state=passed || { state=FAILED; failed=1; }
    echo "== $one $state after $((SECONDS - began)) s" | tee -a "$out/steps.txt"
  done
done
exit $failed
