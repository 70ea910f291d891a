// From tensors to tasks: what both operators share on a CPU.
#pragma once
#include <ATen/ATen.h>

#include "../../common/cpu/scan_args.h"

namespace tinyvim {

// The kernels for the widest instruction set that this processor has (and that
// ATEN_CPU_CAPABILITY allows, as for torch's own kernels).
const ScanKernels& scan_kernels();

int64_t padded_channels(int64_t channels);

// Zeros appended to the last axis.
at::Tensor pad_channels(const at::Tensor& t);

// float32, contiguous, channels last and padded.
at::Tensor as_float(const at::Tensor& t);

void run_forward(const ForwardArgs& args);
void run_backward(const BackwardArgs& args);

int64_t channel_groups(int64_t padded);

// Sum over axis `axis` of a contiguous tensor, always in the same order.
at::Tensor ordered_sum(const at::Tensor& t, int64_t axis);

inline const float* data_or_null(const at::Tensor& t) {
  return t.defined() ? t.const_data_ptr<float>() : nullptr;
}

}  // namespace tinyvim
