// The arguments of the operators, checked: what Python has not seen, such as a direct call
// of torch.ops.tinyvim_mm.scan, must not reach a kernel.
#pragma once
#include <ATen/ATen.h>

#include <tuple>

namespace tinyvim {

using at::Tensor;
using OptionalTensor = c10::optional<Tensor>;

// As in the schema, see ops.cpp.
struct ScanInputs {
  const Tensor &x, &step;
  const OptionalTensor& step_weight;
  const Tensor &B, &C, &A;
  const OptionalTensor &D, &bias, &positions;
  at::IntArrayRef paths;
  int64_t width;
  bool softplus;
};

struct ScanSizes {
  int64_t batch, maps, paths, length, channels, states;
  int64_t rank;  // of the step sizes, or -1 if they are given for each channel
  int64_t segments;  // of kCheckpoint times

  // Several paths read one map, and their results are summed.
  bool merged() const { return maps == 1 && paths > 1; }
  bool empty() const { return batch * length * channels == 0; }
};

// y, last_state, checkpoints; and the gradients of x, delta, B, C, A, D, bias.
using ScanResults = std::tuple<Tensor, Tensor, Tensor>;
using ScanGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// Throw c10::Error where a shape, type or device does not fit.
ScanSizes check_scan(const ScanInputs& inputs);
void check_gradients(const ScanInputs& inputs, const ScanSizes& sizes, const Tensor& grad_y,
                     const OptionalTensor& grad_last_state, const OptionalTensor& checkpoints);

// Results where there is nothing to scan.
ScanResults empty_results(const ScanInputs& inputs, const ScanSizes& sizes, bool keep_state,
                          bool keep_checkpoints);
ScanGradients empty_gradients(const ScanInputs& inputs, const ScanSizes& sizes);

inline bool given(const OptionalTensor& t) { return t.has_value() && t->defined(); }

}  // namespace tinyvim
