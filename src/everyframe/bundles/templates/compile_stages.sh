#!/bin/bash
# Compiles each quantised stage for a DPU, in the Vitis AI container.
#
#   bash compile_stages.sh [ARCH.json]
#
# vai_c_xir's arguments are those of UG1414. Inferred, not tried: that it takes what vai_q_onnx writes; with the quantizers for
# PyTorch and TensorFlow it is given their .xmodel or .pb.
set -euo pipefail
cd "$(dirname "$0")"
arch=${1:-/opt/vitis_ai/compiler/arch/DPUCZDX8G/ZCU104/arch.json}
mkdir -p compiled
for model in quantized/stage_*.onnx; do
  stage=$(basename "$model" .onnx)
  vai_c_xir --xmodel "$model" --arch "$arch" --net_name "$stage" --output_dir "compiled/$stage"
  [ -f "compiled/$stage/$stage.xmodel" ] || { echo "error: $stage was not compiled" >&2; exit 1; }
done
