// The operators on a CPU: tensors in the kernels' layout, one task for each
// image, path and group of channels, sums of what the tasks leave.
#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <algorithm>
#include <string>

#include "../../common/cpu/scan_args.h"
#include "../../common/scan_path.h"
#include "../tensors.h"

namespace tinyvim {

namespace {

constexpr Padding kPadding{kChannelPad, 1, 1};

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

int64_t channel_groups(const ScanArgs& a) {
  return (a.channels + kGroupChannels - 1) / kGroupChannels;
}

// Exponentials below which waking a thread costs more than it saves.
constexpr int64_t kThreadWork = 1 << 16;

// Runs f(batch, path, group) for all tasks.
template <typename F>
void for_each_task(const ScanArgs& a, const F& f) {
  const int64_t groups = channel_groups(a);
  const int64_t work = a.length * a.states * std::min<int64_t>(a.channels, kGroupChannels);
  const int64_t grain = std::max<int64_t>(1, kThreadWork / std::max<int64_t>(1, work));
  at::parallel_for(0, a.batch * a.paths * groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      f(i / groups / a.paths, i / groups % a.paths, i % groups);
    }
  });
}

// Position visited at each time, (paths, H * W) int32.
at::Tensor path_positions(at::IntArrayRef paths, int64_t height, int64_t width) {
  const int64_t length = height * width;
  at::Tensor positions =
      at::empty({static_cast<int64_t>(paths.size()), length}, at::TensorOptions(at::kInt));
  int32_t* to = positions.data_ptr<int32_t>();
  for (int64_t path : paths) {
    for (int64_t t = 0; t < length; ++t) {
      *to++ = path_position(static_cast<int>(path), static_cast<int>(t),
                            static_cast<int>(height), static_cast<int>(width));
    }
  }
  return positions;
}

void fill(const SS2DTensors& t, const at::Tensor& positions, ScanArgs* a) {
  a->batch = t.batch;
  a->paths = t.K;
  a->length = t.length;
  a->channels = t.padded;
  a->states = t.N;
  a->positions = positions.const_data_ptr<int32_t>();
  a->softplus = true;
  a->x = t.x.const_data_ptr<float>();
  a->x_strides = {t.length * t.padded, 0, t.padded};
  // One product gave dt_low, B and C of a path, side by side.
  a->dt_low = t.projected.const_data_ptr<float>();
  a->dt_low_strides = {t.length * t.K * t.columns, t.columns, t.K * t.columns};
  a->dt_weight = t.dt_weight.const_data_ptr<float>();
  a->rank = t.R;
  a->B = a->dt_low + t.R_padded;
  a->C = a->B + t.N_padded;
  a->BC_strides = a->dt_low_strides;
  a->A = t.A.const_data_ptr<float>();
  a->D = t.D.const_data_ptr<float>();
  a->bias = t.bias.const_data_ptr<float>();
}

void fill(const SequenceTensors& t, bool softplus, ScanArgs* a) {
  const Strides strides{t.groups * t.length * t.padded, t.length * t.padded, t.padded};
  a->batch = t.batch;
  a->paths = t.groups;
  a->length = t.length;
  a->channels = t.padded;
  a->states = t.N;
  a->positions = nullptr;
  a->softplus = softplus;
  a->x = t.u.const_data_ptr<float>();
  a->x_strides = strides;
  a->delta = t.delta.const_data_ptr<float>();
  a->delta_strides = strides;
  a->B = t.B.const_data_ptr<float>();
  a->C = t.C.const_data_ptr<float>();
  a->BC_strides = {t.groups * t.length * t.N, t.length * t.N, t.N};
  a->A = t.A.const_data_ptr<float>();
  a->D = data_or_null(t.D);
  a->bias = data_or_null(t.bias);
}

// Runs the backward kernels. `x` of the result is (batch, paths, L, channels),
// `delta` is grad_delta, filled.
ScanGrads backward(BackwardArgs a, const at::Tensor& grad_delta) {
  const auto options = grad_delta.options();
  const int64_t groups = channel_groups(a);
  at::Tensor x = at::empty({a.batch, a.paths, a.length, a.channels}, options);
  at::Tensor B = at::empty({groups, a.batch, a.paths, a.length, a.states}, options);
  at::Tensor C = at::empty_like(B);
  at::Tensor A = at::empty({a.batch, a.paths, a.states, a.channels}, options);
  at::Tensor D = at::empty({a.batch, a.paths, a.channels}, options);
  at::Tensor bias = at::empty_like(D);
  a.grad_x = x.data_ptr<float>();
  a.grad_delta = grad_delta.data_ptr<float>();
  a.grad_B = B.data_ptr<float>();
  a.grad_C = C.data_ptr<float>();
  a.grad_A = A.data_ptr<float>();
  a.grad_D = D.data_ptr<float>();
  a.grad_bias = bias.data_ptr<float>();
  for_each_task(a, [&](int64_t b, int64_t k, int64_t g) { scan_kernels().backward(a, b, k, g); });
  return {x,
          grad_delta,
          ordered_sum(B, 0),
          ordered_sum(C, 0),
          ordered_sum(A, 0),
          ordered_sum(D, 0),
          ordered_sum(bias, 0)};
}

}  // namespace

std::string cpu_capability() {
#if defined(INTRA_OP_PARALLEL)
  return scan_kernels().name;
#else  // at::parallel_for is a plain loop where the compiler has no OpenMP
  return scan_kernels().name + std::string(", one thread");
#endif
}

at::Tensor ordered_sum(const at::Tensor& t, int64_t axis) {
  if (t.size(axis) == 1) return t.squeeze(axis);
  int64_t outer = 1, inner = 1;
  for (int64_t i = 0; i < axis; ++i) outer *= t.size(i);
  for (int64_t i = axis + 1; i < t.dim(); ++i) inner *= t.size(i);
  if (!t.is_cpu() || inner % kChannelPad != 0) return t.sum(axis);
  const int64_t count = t.size(axis);
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

Tensor ss2d_cpu(const Tensor& x, const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                const Tensor& dt_projs_bias, const Tensor& A_logs, const Tensor& Ds,
                at::IntArrayRef paths) {
  const SS2DTensors t(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds, kPadding);
  const at::Tensor positions = path_positions(paths, t.height, t.width);
  at::Tensor y = at::empty({t.batch, t.K, t.length, t.padded}, t.x.options());
  ForwardArgs args{};
  fill(t, positions, &args);
  args.y = y.data_ptr<float>();
  args.y_strides = {t.K * t.length * t.padded, t.length * t.padded, t.padded};
  for_each_task(args, [&](int64_t b, int64_t k, int64_t g) {
    scan_kernels().forward(args, b, k, g);
  });
  return t.map(ordered_sum(y, 1), x.scalar_type());
}

SS2DGradients ss2d_backward_cpu(const Tensor& grad_y, const Tensor& x,
                                const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                                const Tensor& dt_projs_bias, const Tensor& A_logs,
                                const Tensor& Ds, at::IntArrayRef paths) {
  const SS2DTensors t(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds, kPadding);
  const at::Tensor positions = path_positions(paths, t.height, t.width);
  const at::Tensor dy = t.rows(grad_y);
  BackwardArgs args{};
  fill(t, positions, &args);
  args.grad_delta_strides = {t.length * t.padded, t.batch * t.length * t.padded, t.padded};
  args.grad_y = dy.const_data_ptr<float>();
  args.grad_y_strides = {t.length * t.padded, 0, t.padded};
  ScanGrads grads =
      backward(args, at::empty({t.K, t.batch * t.length, t.padded}, t.x.options()));
  grads.x = ordered_sum(grads.x, 1);
  return t.gradients(grads, x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds);
}

std::tuple<Tensor, Tensor> selective_scan_cpu(const Tensor& u, const Tensor& delta,
                                              const Tensor& A, const Tensor& B, const Tensor& C,
                                              const OptionalTensor& D,
                                              const OptionalTensor& delta_bias,
                                              bool delta_softplus) {
  const SequenceTensors t(u, delta, A, B, C, D, delta_bias, kPadding);
  at::Tensor y = at::empty_like(t.u);
  at::Tensor last = at::empty({t.batch, t.groups, t.N, t.padded}, t.u.options());
  ForwardArgs args{};
  fill(t, delta_softplus, &args);
  args.y = y.data_ptr<float>();
  args.y_strides = args.x_strides;
  args.last_state = last.data_ptr<float>();
  for_each_task(args, [&](int64_t b, int64_t k, int64_t g) {
    scan_kernels().forward(args, b, k, g);
  });
  return {t.plain(y, u.scalar_type()), t.plain_state(last)};
}

ScanGradients selective_scan_backward_cpu(const Tensor& grad_y,
                                          const OptionalTensor& grad_last_state, const Tensor& u,
                                          const Tensor& delta, const Tensor& A, const Tensor& B,
                                          const Tensor& C, const OptionalTensor& D,
                                          const OptionalTensor& delta_bias, bool delta_softplus) {
  const SequenceTensors t(u, delta, A, B, C, D, delta_bias, kPadding);
  const at::Tensor dy = t.sequence(grad_y), dlast = t.state(grad_last_state);
  BackwardArgs args{};
  fill(t, delta_softplus, &args);
  args.grad_y = dy.const_data_ptr<float>();
  args.grad_y_strides = args.x_strides;
  args.grad_last_state = data_or_null(dlast);
  args.grad_delta_strides = args.delta_strides;
  return t.gradients(backward(args, at::empty_like(t.delta)), u, delta, A, B, C, D, delta_bias);
}

}  // namespace tinyvim
