#include "scan_cpu.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <string>

namespace tinyvim {

namespace {

ScanKernels choose_kernels() {
#if defined(TINYVIM_X86)
  const std::string capability = at::get_cpu_capability();
  if (capability == "AVX512") return scan_kernels_avx512();
  if (capability == "AVX2") return scan_kernels_avx2();
#endif
  return scan_kernels_default();
}

// Runs f(batch, path, group) for all tasks.
template <typename F>
void for_each_task(const ScanArgs& a, const F& f) {
  const int64_t groups = channel_groups(a.channels);
  at::parallel_for(0, a.batch * a.paths * groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      f(i / groups / a.paths, i / groups % a.paths, i % groups);
    }
  });
}

}  // namespace

const ScanKernels& scan_kernels() {
  static const ScanKernels kernels = choose_kernels();
  return kernels;
}

std::string cpu_capability() { return scan_kernels().name; }

int64_t padded_channels(int64_t channels) {
  return (channels + kChannelPad - 1) / kChannelPad * kChannelPad;
}

at::Tensor pad_channels(const at::Tensor& t) {
  const int64_t missing = padded_channels(t.size(-1)) - t.size(-1);
  return missing == 0 ? t.contiguous() : at::constant_pad_nd(t, {0, missing});
}

at::Tensor as_float(const at::Tensor& t) { return t.to(at::kFloat); }

int64_t channel_groups(int64_t padded) { return (padded + kGroupChannels - 1) / kGroupChannels; }

void run_forward(const ForwardArgs& args) {
  for_each_task(args, [&](int64_t b, int64_t k, int64_t g) {
    scan_kernels().forward(args, b, k, g);
  });
}

void run_backward(const BackwardArgs& args) {
  for_each_task(args, [&](int64_t b, int64_t k, int64_t g) {
    scan_kernels().backward(args, b, k, g);
  });
}

at::Tensor ordered_sum(const at::Tensor& t, int64_t axis) {
  if (t.size(axis) == 1) return t.squeeze(axis);
  int64_t outer = 1, inner = 1;
  for (int64_t i = 0; i < axis; ++i) outer *= t.size(i);
  for (int64_t i = axis + 1; i < t.dim(); ++i) inner *= t.size(i);
  const int64_t count = t.size(axis);
  if (inner % kChannelPad != 0) return t.sum(axis);
  auto shape = t.sizes().vec();
  shape.erase(shape.begin() + axis);
  at::Tensor result = at::empty(shape, t.options());
  const float* in = t.const_data_ptr<float>();
  float* out = result.data_ptr<float>();
  const int64_t piece = 4096;  // a multiple of the padding
  const int64_t pieces = (inner + piece - 1) / piece;
  at::parallel_for(0, outer * pieces, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i / pieces, from = i % pieces * piece;
      const int64_t size = std::min(piece, inner - from);
      scan_kernels().sum(in + o * count * inner + from, count, inner, size,
                         out + o * inner + from);
    }
  });
  return result;
}

}  // namespace tinyvim
