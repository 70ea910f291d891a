// The operators on a CPU: tensors in the kernels' layout, one task for each
// image, path and group of channels, sums of what the tasks leave.
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <algorithm>
#include <string>

#include "../../common/cpu/cpu_args.h"
#include "../../common/scan_path.h"
#include "../arguments.h"

namespace tinyvim {

namespace {

// The kernels for the widest instruction set that this processor has and that
// ATEN_CPU_CAPABILITY allows, as for torch's own.
ScanKernels choose_kernels() {
#if defined(TINYVIM_X86)
  const std::string capability = at::get_cpu_capability();
  if (capability == "AVX512") return scan_kernels_avx512();
  if (capability == "AVX2") return scan_kernels_avx2();
#endif
  return scan_kernels_default();
}

const ScanKernels& scan_kernels() {
  static const ScanKernels kernels = choose_kernels();
  return kernels;
}

int64_t channel_groups(const CpuScanArgs& a) {
  return (a.channels + kGroupChannels - 1) / kGroupChannels;
}

// Exponentials below which waking a thread costs more than it saves.
constexpr int64_t kThreadWork = 1 << 16;

// Runs f(batch, path, group) for all tasks.
template <typename F>
void for_each_task(const CpuScanArgs& a, const F& f) {
  const int64_t groups = channel_groups(a);
  const int64_t work = a.length * a.states * std::min<int64_t>(a.channels, kGroupChannels);
  const int64_t grain = std::max<int64_t>(1, kThreadWork / std::max<int64_t>(1, work));
  at::parallel_for(0, a.batch * a.paths * groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      f(i / groups / a.paths, i / groups % a.paths, i % groups);
    }
  });
}

// Position visited at each time, (K, L) int32.
Tensor path_positions(const ScanInputs& in, const ScanSizes& s) {
  if (given(in.positions)) return in.positions->contiguous();
  if (in.paths.empty()) return Tensor();
  const int width = static_cast<int>(in.width), height = static_cast<int>(s.length / in.width);
  Tensor positions = at::empty({s.paths, s.length}, at::TensorOptions(at::kInt));
  int32_t* to = positions.data_ptr<int32_t>();
  for (int64_t path : in.paths) {
    for (int64_t t = 0; t < s.length; ++t) {
      *to++ = path_position(static_cast<int>(path), static_cast<int>(t), height, width);
    }
  }
  return positions;
}

int64_t missing_channels(int64_t channels) {
  return (kChannelPad - channels % kChannelPad) % kChannelPad;
}

// float32 with a contiguous last axis, which is filled up with zeros where it holds channels.
Tensor padded(const Tensor& t) {
  const Tensor rows = t.to(at::kFloat);
  const int64_t missing = missing_channels(rows.size(-1));
  if (missing > 0) return at::constant_pad_nd(rows, {0, missing}).contiguous();
  return rows.stride(-1) == 1 ? rows : rows.contiguous();
}
Tensor padded_weight(const OptionalTensor& t) {
  return given(t) ? padded(*t).contiguous() : Tensor();
}
Tensor with_last_axis_contiguous(const Tensor& t) {
  return t.stride(-1) == 1 ? t : t.contiguous();
}
Tensor without_padding(const Tensor& t, int64_t channels) {
  return t.size(-1) == channels ? t : t.narrow(-1, 0, channels).contiguous();
}

const float* data_or_null(const Tensor& t) {
  return t.defined() ? t.const_data_ptr<float>() : nullptr;
}

// Of a tensor (batch, 1 or paths, position, ...).
Strides strides_of(const Tensor& t) {
  return {t.stride(0), t.size(1) == 1 ? 0 : t.stride(1), t.stride(2)};
}

// The inputs as kernels read them.
struct Prepared {
  ScanSizes sizes;
  int64_t channels;  // padded
  Tensor x, step, step_weight, B, C, A, D, bias, positions;

  Prepared(const ScanInputs& in, const ScanSizes& s)
      : sizes(s),
        channels(s.channels + missing_channels(s.channels)),
        x(padded(in.x)),
        step(s.rank < 0 ? padded(in.step) : with_last_axis_contiguous(in.step)),
        step_weight(padded_weight(in.step_weight)),
        B(with_last_axis_contiguous(in.B)),
        C(with_last_axis_contiguous(in.C)),
        A(padded_weight(in.A)),
        D(padded_weight(in.D)),
        bias(padded_weight(in.bias)),
        positions(path_positions(in, s)) {}

  void fill(CpuScanArgs* a, bool softplus) const {
    a->batch = sizes.batch;
    a->paths = sizes.paths;
    a->length = sizes.length;
    a->channels = channels;
    a->states = sizes.states;
    a->softplus = softplus;
    a->x = x.const_data_ptr<float>();
    a->x_strides = strides_of(x);
    (sizes.rank < 0 ? a->delta : a->dt_low) = step.const_data_ptr<float>();
    a->step_strides = strides_of(step);
    a->dt_weight = data_or_null(step_weight);
    a->rank = sizes.rank;
    a->B = B.const_data_ptr<float>();
    a->C = C.const_data_ptr<float>();
    a->B_strides = strides_of(B);
    a->C_strides = strides_of(C);
    a->A = A.const_data_ptr<float>();
    a->D = data_or_null(D);
    a->bias = data_or_null(bias);
    a->positions = positions.defined() ? positions.const_data_ptr<int32_t>() : nullptr;
  }
  Tensor empty(at::IntArrayRef shape) const { return at::empty(shape, x.options()); }
  Tensor empty_states() const {
    return empty({sizes.batch, sizes.paths, sizes.states, channels});
  }
  Tensor empty_checkpoints() const {
    return empty({sizes.batch, sizes.paths, sizes.segments, sizes.states, channels});
  }
  // (batch, paths, L, channels): a result for each path.
  Tensor empty_planes() const {
    return empty({sizes.batch, sizes.paths, sizes.length, channels});
  }
};

// Sum over an axis, always in the same order.
Tensor ordered_sum(const Tensor& t, int64_t axis) {
  if (t.size(axis) == 1) return t.squeeze(axis);
  int64_t outer = 1, inner = 1;
  for (int64_t i = 0; i < axis; ++i) outer *= t.size(i);
  for (int64_t i = axis + 1; i < t.dim(); ++i) inner *= t.size(i);
  if (!t.is_cpu() || inner % kChannelPad != 0) return t.sum(axis);
  const int64_t count = t.size(axis);
  auto shape = t.sizes().vec();
  shape.erase(shape.begin() + axis);
  Tensor result = at::empty(shape, t.options());
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

// Planes (batch, paths, L, padded) in the shape and type of x.
Tensor like_x(const Tensor& planes, const Tensor& x, const ScanSizes& s) {
  const Tensor rows = s.merged() ? ordered_sum(planes, 1).unsqueeze(1) : planes;
  return without_padding(rows, s.channels).to(x.scalar_type());
}

// Scans into what is given; states and checkpoints may be undefined.
void forward(const Prepared& p, bool softplus, const Tensor& y, const Tensor& last_state,
             const Tensor& checkpoints) {
  ForwardArgs args{};
  p.fill(&args, softplus);
  args.y = y.data_ptr<float>();
  args.y_strides = strides_of(y);
  args.last_state = last_state.defined() ? last_state.data_ptr<float>() : nullptr;
  args.checkpoints = checkpoints.defined() ? checkpoints.data_ptr<float>() : nullptr;
  for_each_task(args, [&](int64_t b, int64_t k, int64_t g) {
    scan_kernels().forward(args, b, k, g);
  });
}

ScanResults scan(const Tensor& x, const Tensor& step, const OptionalTensor& step_weight,
                 const Tensor& B, const Tensor& C, const Tensor& A, const OptionalTensor& D,
                 const OptionalTensor& bias, const OptionalTensor& positions,
                 at::IntArrayRef paths, int64_t width, bool softplus, bool keep_state,
                 bool keep_checkpoints) {
  // Results are not views of anything, and may be changed in place.
  const at::AutoDispatchBelowADInplaceOrView guard;
  const ScanInputs in{x, step, step_weight, B, C, A, D, bias, positions, paths, width, softplus};
  const ScanSizes s = check_scan(in);
  if (s.empty()) return empty_results(in, s, keep_state, keep_checkpoints);
  const Prepared p(in, s);
  const Tensor y = p.empty_planes();
  const Tensor state = keep_state ? p.empty_states() : Tensor();
  const Tensor checkpoints = keep_checkpoints ? p.empty_checkpoints() : Tensor();
  forward(p, softplus, y, state, checkpoints);
  return {like_x(y, x, s),
          keep_state ? without_padding(state, s.channels) : p.empty({0}),
          keep_checkpoints ? without_padding(checkpoints, s.channels) : p.empty({0})};
}

ScanGradients scan_backward(const Tensor& grad_y, const OptionalTensor& grad_last_state,
                            const OptionalTensor& checkpoints, const Tensor& x,
                            const Tensor& step, const OptionalTensor& step_weight,
                            const Tensor& B, const Tensor& C, const Tensor& A,
                            const OptionalTensor& D, const OptionalTensor& bias,
                            const OptionalTensor& positions, at::IntArrayRef paths,
                            int64_t width, bool softplus) {
  const ScanInputs in{x, step, step_weight, B, C, A, D, bias, positions, paths, width, softplus};
  const ScanSizes s = check_scan(in);
  check_gradients(in, s, grad_y, grad_last_state, checkpoints);
  if (s.empty()) return empty_gradients(in, s);
  const Prepared p(in, s);
  Tensor kept;
  if (given(checkpoints)) {
    kept = padded(*checkpoints).contiguous();
  } else {
    kept = p.empty_checkpoints();
    forward(p, softplus, p.empty_planes(), Tensor(), kept);
  }
  const Tensor dy = padded(grad_y), dlast = padded_weight(grad_last_state);
  BackwardArgs a{};
  p.fill(&a, softplus);
  a.grad_y = dy.const_data_ptr<float>();
  a.grad_y_strides = strides_of(dy);
  a.grad_last_state = data_or_null(dlast);
  a.checkpoints = kept.const_data_ptr<float>();

  const Tensor dx = p.empty_planes();
  const Tensor ddelta = p.empty({s.paths, s.batch, s.length, p.channels});
  const Tensor dB = p.empty({channel_groups(a), s.batch, s.paths, s.length, s.states});
  const Tensor dC = at::empty_like(dB), dA = p.empty_states();
  const Tensor dD = p.empty({s.batch, s.paths, p.channels}), dbias = at::empty_like(dD);
  a.grad_x = dx.data_ptr<float>();
  a.grad_delta = ddelta.data_ptr<float>();
  a.grad_B = dB.data_ptr<float>();
  a.grad_C = dC.data_ptr<float>();
  a.grad_A = dA.data_ptr<float>();
  a.grad_D = dD.data_ptr<float>();
  a.grad_bias = dbias.data_ptr<float>();
  for_each_task(a, [&](int64_t b, int64_t k, int64_t g) { scan_kernels().backward(a, b, k, g); });
  auto summed = [&](const Tensor& t) { return without_padding(ordered_sum(t, 0), s.channels); };
  return {like_x(dx, x, s),
          without_padding(ddelta, s.channels),
          ordered_sum(dB, 0),
          ordered_sum(dC, 0),
          summed(dA),
          summed(dD),
          summed(dbias)};
}

}  // namespace

std::string cpu_capability() {
#if defined(INTRA_OP_PARALLEL)
  return scan_kernels().name;
#else  // at::parallel_for is a plain loop where the compiler has no OpenMP
  return scan_kernels().name + std::string(", one thread");
#endif
}

}  // namespace tinyvim

TORCH_LIBRARY_IMPL(tinyvim_mm, CPU, m) {
  m.impl("scan", tinyvim::scan);
  m.impl("scan_backward", tinyvim::scan_backward);
}
