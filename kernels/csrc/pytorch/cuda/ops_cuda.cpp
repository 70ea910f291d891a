// The operators on a GPU. No synchronization, no copies between host and device:
// they may be recorded in CUDA graphs.
#include <c10/core/DeviceGuard.h>

#include <algorithm>

#include "../../common/cuda/scan_launch.h"
#include "../tensors.h"

namespace tinyvim {

namespace {

// Padded states and ranks are read four at a time, see CudaScanArgs::padded.
Padding padding(int64_t states, int64_t rank) {
  const int64_t r = register_rank(static_cast<int>(std::min<int64_t>(rank, kMaxRank)));
  return {1, register_states(states), std::max<int64_t>(r, 4)};
}

bool aligned(const CudaScanArgs& a) {
  auto multiple = [](int64_t n) { return n % 4 == 0; };
  auto address = [](const float* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return address(a.B) && address(a.C) && (a.dt_low == nullptr || address(a.dt_low)) &&
         multiple(a.BC_strides.batch) && multiple(a.BC_strides.path) &&
         multiple(a.BC_strides.position);
}

void fill(const SS2DTensors& t, at::IntArrayRef paths, const at::Tensor& delta,
          CudaScanArgs* a) {
  TORCH_CHECK(t.K <= kMaxPaths, "ss2d on CUDA takes at most ", kMaxPaths, " paths, got ", t.K);
  a->batch = t.batch;
  a->paths = t.K;
  a->length = t.length;
  a->channels = t.padded;
  a->states = t.N;
  a->height = static_cast<int>(t.height);
  a->width = static_cast<int>(t.width);
  for (int64_t k = 0; k < t.K; ++k) a->codes[k] = static_cast<int>(paths[k]);
  a->softplus = true;
  a->x = t.x.const_data_ptr<float>();
  a->x_strides = {t.length * t.padded, 0, t.padded};
  a->delta = data_or_null(delta);
  a->delta_strides = {t.length * t.padded, t.batch * t.length * t.padded, t.padded};
  const float* projected = t.projected.const_data_ptr<float>();
  if (!delta.defined()) {
    a->dt_low = projected;
    a->dt_weight = t.dt_weight.const_data_ptr<float>();
    a->rank = static_cast<int>(t.R);
  }
  a->B = projected + t.R_padded;
  a->C = a->B + t.N_padded;
  a->BC_strides = {t.length * t.K * t.columns, t.columns, t.K * t.columns};
  a->A = t.A.const_data_ptr<float>();
  a->D = t.D.const_data_ptr<float>();
  a->bias = t.bias.const_data_ptr<float>();
  a->padded = aligned(*a);
}

void fill(const SequenceTensors& t, bool softplus, CudaScanArgs* a) {
  const CudaStrides strides{t.groups * t.length * t.padded, t.length * t.padded, t.padded};
  a->batch = t.batch;
  a->paths = t.groups;
  a->length = t.length;
  a->channels = t.padded;
  a->states = t.N;
  a->height = 1;
  a->width = static_cast<int>(t.length);
  a->plain_sequence = true;
  a->softplus = softplus;
  a->x = t.u.const_data_ptr<float>();
  a->x_strides = strides;
  a->delta = t.delta.const_data_ptr<float>();
  a->delta_strides = strides;
  a->B = t.B.const_data_ptr<float>();
  a->C = t.C.const_data_ptr<float>();
  a->BC_strides = {t.groups * t.length * t.N_padded, t.length * t.N_padded, t.N_padded};
  a->A = t.A.const_data_ptr<float>();
  a->D = data_or_null(t.D);
  a->bias = data_or_null(t.bias);
  a->padded = aligned(*a);
}

// Planes (slice, batch, path, L, channel) of an unfused scan.
at::Tensor forward_planes(const CudaScanArgs& a, const ForwardPlan& plan,
                          const at::TensorOptions& options, float* last_state) {
  const int64_t slices = state_slices(a.states);
  at::Tensor planes = at::empty({slices, a.batch, a.paths, a.length, a.channels}, options);
  at::Tensor chunk_states, chunk_dt;
  if (plan.chunks > 1) {
    chunk_states = at::empty({a.batch, a.paths, plan.chunks, a.states, a.channels}, options);
    chunk_dt = at::empty({slices, a.batch, a.paths, plan.chunks, a.channels}, options);
  }
  launch_forward(a, plan, planes.data_ptr<float>(), last_state,
                 plan.chunks > 1 ? chunk_states.data_ptr<float>() : nullptr,
                 plan.chunks > 1 ? chunk_dt.data_ptr<float>() : nullptr, current_stream());
  return planes;
}

// As on a CPU: `x` of the result is (batch, paths, L, channels), `delta` has the
// strides of the arguments' delta.
ScanGrads backward(CudaBackwardArgs a, const at::Tensor& delta) {
  const auto options = delta.options();
  const int64_t tiles = channel_tiles(a.channels);
  a.slices = state_slices(a.states);
  at::Tensor checkpoints = at::empty(
      {a.batch, a.paths, ceil_div(a.length, kCudaSegment), a.states, a.channels}, options);
  at::Tensor x = at::empty({a.slices, a.batch, a.paths, a.length, a.channels}, options);
  auto delta_shape = delta.sizes().vec();
  delta_shape.insert(delta_shape.begin(), a.slices);
  at::Tensor grad_delta = at::empty(delta_shape, options);
  at::Tensor B = at::empty({tiles, a.batch, a.paths, a.length, a.states}, options);
  at::Tensor C = at::empty_like(B);
  at::Tensor A = at::empty({a.batch, a.paths, a.states, a.channels}, options);
  at::Tensor D = at::empty({a.batch, a.paths, a.channels}, options);
  at::Tensor bias = at::empty({a.slices, a.batch, a.paths, a.channels}, options);
  a.checkpoints = checkpoints.data_ptr<float>();
  a.grad_x = x.data_ptr<float>();
  a.grad_delta = grad_delta.data_ptr<float>();
  a.grad_B = B.data_ptr<float>();
  a.grad_C = C.data_ptr<float>();
  a.grad_A = A.data_ptr<float>();
  a.grad_D = D.data_ptr<float>();
  a.grad_bias = bias.data_ptr<float>();
  launch_backward(a, current_stream());
  return {ordered_sum(x, 0),
          ordered_sum(grad_delta, 0),
          ordered_sum(B, 0),
          ordered_sum(C, 0),
          ordered_sum(A, 0),
          ordered_sum(D, 0),
          ordered_sum(ordered_sum(bias, 0), 0)};
}

}  // namespace

Tensor ss2d_cuda(const Tensor& x, const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                 const Tensor& dt_projs_bias, const Tensor& A_logs, const Tensor& Ds,
                 at::IntArrayRef paths) {
  const c10::DeviceGuard guard(x.device());
  const SS2DTensors t(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds,
                      padding(A_logs.size(1), dt_projs_weight.size(2)));
  // Beyond kMaxRank the step sizes are a matrix product of their own.
  const at::Tensor delta = t.R <= kMaxRank ? at::Tensor() : t.delta();
  CudaScanArgs args{};
  fill(t, paths, delta, &args);
  const ForwardPlan plan = plan_forward(args, true, multiprocessors());
  at::Tensor rows;
  if (plan.fused) {
    rows = at::empty({t.batch, t.length, t.padded}, t.x.options());
    launch_forward(args, plan, rows.data_ptr<float>(), nullptr, nullptr, nullptr,
                   current_stream());
  } else {
    const at::Tensor planes = forward_planes(args, plan, t.x.options(), nullptr);
    rows = ordered_sum(ordered_sum(planes, 0), 1);
  }
  return t.map(rows, x.scalar_type());
}

SS2DGradients ss2d_backward_cuda(const Tensor& grad_y, const Tensor& x,
                                 const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                                 const Tensor& dt_projs_bias, const Tensor& A_logs,
                                 const Tensor& Ds, at::IntArrayRef paths) {
  const c10::DeviceGuard guard(x.device());
  const SS2DTensors t(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds,
                      padding(A_logs.size(1), dt_projs_weight.size(2)));
  const at::Tensor delta = t.delta(), dy = t.rows(grad_y);
  CudaBackwardArgs args{};
  fill(t, paths, delta, &args);
  args.grad_y = dy.const_data_ptr<float>();
  args.grad_y_strides = {t.length * t.padded, 0, t.padded};
  ScanGrads grads = backward(args, delta);
  grads.x = ordered_sum(grads.x, 1);
  return t.gradients(grads, x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds);
}

std::tuple<Tensor, Tensor> selective_scan_cuda(const Tensor& u, const Tensor& delta,
                                               const Tensor& A, const Tensor& B, const Tensor& C,
                                               const OptionalTensor& D,
                                               const OptionalTensor& delta_bias,
                                               bool delta_softplus) {
  const c10::DeviceGuard guard(u.device());
  const SequenceTensors t(u, delta, A, B, C, D, delta_bias, padding(A.size(1), 0));
  at::Tensor last = at::empty({t.batch, t.groups, t.N, t.padded}, t.u.options());
  CudaScanArgs args{};
  fill(t, delta_softplus, &args);
  const ForwardPlan plan = plan_forward(args, false, multiprocessors());
  const at::Tensor planes = forward_planes(args, plan, t.u.options(), last.data_ptr<float>());
  return {t.plain(ordered_sum(planes, 0), u.scalar_type()), t.plain_state(last)};
}

ScanGradients selective_scan_backward_cuda(const Tensor& grad_y,
                                           const OptionalTensor& grad_last_state,
                                           const Tensor& u, const Tensor& delta, const Tensor& A,
                                           const Tensor& B, const Tensor& C,
                                           const OptionalTensor& D,
                                           const OptionalTensor& delta_bias,
                                           bool delta_softplus) {
  const c10::DeviceGuard guard(u.device());
  const SequenceTensors t(u, delta, A, B, C, D, delta_bias, padding(A.size(1), 0));
  const at::Tensor dy = t.sequence(grad_y), dlast = t.state(grad_last_state);
  CudaBackwardArgs args{};
  fill(t, delta_softplus, &args);
  args.grad_y = dy.const_data_ptr<float>();
  args.grad_y_strides = args.x_strides;
  args.grad_last_state = data_or_null(dlast);
  return t.gradients(backward(args, t.delta), u, delta, A, B, C, D, delta_bias);
}

}  // namespace tinyvim
