// The operators on a GPU. No synchronization, no copies between host and device: they may
// be recorded in CUDA graphs.
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <string>
#include <vector>

#include "../../common/cuda/scan_plan.h"
#include "../../common/scan_path.h"
#include "../arguments.h"
#include "context.h"

namespace tinyvim {

namespace {

// Rows that kernels step along by 32-bit offsets of bytes.
Tensor readable(const Tensor& t) {
  const int64_t furthest = INT32_MAX / 8;
  return t.stride(-1) == 1 && t.stride(2) <= furthest ? t : t.contiguous();
}
Tensor readable_weight(const OptionalTensor& t) {
  return given(t) ? t->contiguous() : Tensor();
}

int row_bytes(const Tensor& t) { return static_cast<int>(t.stride(2) * t.element_size()); }
// Of a tensor (batch, 1 or paths, position, ...).
Strides strides_of(const Tensor& t) {
  return {t.stride(0), t.size(1) == 1 ? 0 : t.stride(1), t.stride(2)};
}

template <typename T>
const T* pointer(const Tensor& t) {
  return t.defined() ? static_cast<const T*>(t.const_data_ptr()) : nullptr;
}
float* floats(const Tensor& t) { return t.defined() ? t.data_ptr<float>() : nullptr; }

// Time -> position of more paths than have room among the arguments of a launch.
Tensor table_of(at::IntArrayRef paths, int64_t length, int64_t width, at::Device device) {
  const Tensor rows = at::arange(length, at::TensorOptions(at::kInt).device(device));
  const Tensor columns = rows.view({length / width, width}).t().reshape({length});
  std::vector<Tensor> table;
  for (const int64_t path : paths) {
    const Tensor& order = path & kTranspose ? columns : rows;
    table.push_back(path & kReverse ? order.flip(0) : order);
  }
  return at::stack(table);
}

// The inputs as kernels read them; x may have been converted. Owns what the pointers of
// args() point to.
template <typename T>
struct Prepared {
  ScanSizes sizes;
  const ScanInputs& in;
  Tensor x, step, step_weight, B, C, A, D, bias, positions;

  Prepared(const ScanInputs& inputs, const ScanSizes& s)
      : sizes(s),
        in(inputs),
        x(readable(as_T(in.x))),
        step(readable(in.step)),
        step_weight(readable_weight(in.step_weight)),
        B(readable(in.B)),
        C(readable(in.C)),
        A(in.A.contiguous()),
        D(readable_weight(in.D)),
        bias(readable_weight(in.bias)),
        positions(readable_weight(in.positions)) {
    if (!positions.defined() && static_cast<int64_t>(in.paths.size()) > kMaxCodes) {
      positions = table_of(in.paths, s.length, in.width, x.device());
    }
  }

  CudaScanArgs<T> args() const {
    CudaScanArgs<T> a{};
    a.batch = sizes.batch;
    a.paths = sizes.paths;
    a.length = sizes.length;
    a.channels = sizes.channels;
    a.states = sizes.states;
    a.softplus = in.softplus;
    a.sum_paths = sizes.merged();
    a.positions = pointer<int32_t>(positions);
    a.ordered = !positions.defined() && !in.paths.empty();
    if (a.ordered) {
      a.width = static_cast<int>(in.width);
      a.height = static_cast<int>(sizes.length / in.width);
      for (size_t k = 0; k < in.paths.size(); ++k) a.codes[k] = in.paths[k];
    }
    a.x = pointer<T>(x);
    a.x_strides = strides_of(x);
    a.x_row = row_bytes(x);
    if (sizes.rank < 0) {
      a.delta = pointer<T>(step);
    } else {
      a.dt_low = pointer<float>(step);
      a.dt_weight = pointer<float>(step_weight);
      a.rank = sizes.rank;
    }
    a.step_strides = strides_of(step);
    a.step_row = row_bytes(step);
    a.B = pointer<float>(B);
    a.C = pointer<float>(C);
    a.B_strides = strides_of(B);
    a.B_row = row_bytes(B);
    a.C_strides = strides_of(C);
    a.C_row = row_bytes(C);
    a.A = pointer<float>(A);
    a.D = pointer<float>(D);
    a.bias = pointer<float>(bias);
    return a;
  }

  Tensor as_T(const Tensor& t) const {
    return sizeof(T) == sizeof(float) ? t.to(at::kFloat) : t;
  }
  Tensor empty(at::IntArrayRef shape) const {
    return at::empty(shape, x.options().dtype(at::kFloat));
  }
  Tensor empty_checkpoints() const {
    return empty({sizes.batch, sizes.paths, sizes.segments, sizes.states, sizes.channels});
  }
  Tensor empty_like_x() const { return at::empty(x.sizes(), x.options()); }

  void check_division(const Division& d, const Gpu& gpu) const {
    TORCH_CHECK(d.shared_bytes <= gpu.shared_bytes, "scan: ", sizes.states, " states",
                sizes.rank < 0 ? "" : " and step sizes of rank " + std::to_string(sizes.rank),
                " need ", d.shared_bytes, " bytes of shared memory, but this GPU has ",
                gpu.shared_bytes, "; choose the backend 'parallel'");
  }

  // What chunks leave for each other; undefined if there are none.
  Tensor chunk_ends(const Division& d) const {
    if (d.chunks == 1) return {};
    return empty({d.slices, sizes.batch, sizes.paths, d.chunks,
                  register_states(sizes.states) + 1, sizes.channels});
  }
  // A plane for each slice and path, if they are several.
  Tensor planes_of_x(bool several, int64_t slices) const {
    if (!several) return {};
    return empty({slices, sizes.batch, sizes.paths, sizes.length, sizes.channels});
  }

  // `planes` of planes_of_x() summed into `to`, of x's shape.
  void sum_like_x(const Tensor& planes, const Tensor& to) const {
    const int64_t map = sizes.length * sizes.channels, image = sizes.paths * map;
    SumArgs<T> sum{};
    sum.in = floats(planes);
    sum.out = static_cast<T*>(to.data_ptr());
    sum.outer = sizes.batch;
    sum.inner = sizes.merged() ? map : image;
    sum.outer_stride = image;
    sum.p_count = static_cast<int>(planes.size(0));
    sum.p_stride = sizes.batch * image;
    sum.q_count = sizes.merged() ? static_cast<int>(sizes.paths) : 1;
    sum.q_stride = map;
    launch_sum(sum, current_stream());
  }

  void scan(const Tensor& y, const Tensor& last_state, const Tensor& checkpoints) const {
    ForwardArgs<T> a{};
    a.scan = args();
    const Gpu gpu = present_gpu();
    const ForwardPlan plan = plan_forward(a.scan, gpu, y.defined());
    check_division(plan.division, gpu);
    a.division = plan.division;
    const Tensor planes = planes_of_x(y.defined() && plan.planes, plan.division.slices);
    const Tensor ends = chunk_ends(plan.division);
    a.planes = floats(planes);
    a.y = planes.defined() || !y.defined() ? nullptr : static_cast<T*>(y.data_ptr());
    a.last_state = floats(last_state);
    a.checkpoints = floats(checkpoints);
    a.chunk_ends = floats(ends);
    launch_forward(a, plan, current_stream());
    if (planes.defined()) sum_like_x(planes, y);
  }
};

// The sum over the first axis; takes no time if there is but one.
Tensor summed(const Tensor& planes) {
  if (planes.size(0) == 1) return planes.squeeze(0);
  const Tensor result = at::empty(planes.sizes().slice(1), planes.options());
  SumArgs<float> sum{};
  sum.in = floats(planes);
  sum.out = floats(result);
  sum.outer = sum.p_count = 1;
  sum.inner = sum.q_stride = result.numel();
  sum.q_count = static_cast<int>(planes.size(0));
  sum.split = sum.q_count >= 32;
  launch_sum(sum, current_stream());
  return result;
}

template <typename T>
ScanResults scan_as(const ScanInputs& in, const ScanSizes& s, bool keep_state,
                    bool keep_checkpoints) {
  const Prepared<T> p(in, s);
  const Tensor y = p.empty_like_x();
  const Tensor state = keep_state ? p.empty({s.batch, s.paths, s.states, s.channels}) : Tensor();
  const Tensor checkpoints = keep_checkpoints ? p.empty_checkpoints() : Tensor();
  p.scan(y, state, checkpoints);
  return {y.to(in.x.scalar_type()), keep_state ? state : p.empty({0}),
          keep_checkpoints ? checkpoints : p.empty({0})};
}

template <typename T>
ScanGradients gradients_as(const ScanInputs& in, const ScanSizes& s, const Tensor& grad_y,
                           const OptionalTensor& grad_last_state,
                           const OptionalTensor& checkpoints) {
  const Prepared<T> p(in, s);
  Tensor kept = readable_weight(checkpoints);
  if (!kept.defined()) {
    kept = p.empty_checkpoints();
    p.scan(Tensor(), Tensor(), kept);
  }
  const Tensor dy = readable(p.as_T(grad_y)), dlast = readable_weight(grad_last_state);
  BackwardArgs<T> a{};
  a.scan = p.args();
  const Gpu gpu = present_gpu();
  const Division d = a.division = plan_backward(a.scan, gpu);
  p.check_division(d, gpu);
  const int64_t parts = s.batch * d.chunks;
  // The kernel writes float32; one plane of that is the gradient itself.
  const bool direct = sizeof(T) == sizeof(float) && d.slices == 1 && !s.merged();
  const Tensor planes = p.planes_of_x(!direct, d.slices), dx = p.empty_like_x();
  const Tensor ddelta = p.empty({d.slices, s.paths, s.batch, s.length, s.channels});
  const Tensor dB = p.empty({d.all_units / d.slices, s.batch, s.paths, s.length, s.states});
  const Tensor dC = at::empty_like(dB);
  const Tensor dA = p.empty({parts, s.paths, s.states, s.channels});
  const Tensor dD = p.empty({parts, s.paths, s.channels});
  const Tensor dbias = p.empty({d.slices * parts, s.paths, s.channels});
  const Tensor ends = p.chunk_ends(d);
  a.grad_y = pointer<T>(dy);
  a.grad_y_strides = strides_of(dy);
  a.grad_y_row = row_bytes(dy);
  a.grad_last_state = pointer<float>(dlast);
  a.checkpoints = pointer<float>(kept);
  a.chunk_ends = floats(ends);
  a.grad_x = floats(direct ? dx : planes);
  a.grad_delta = floats(ddelta);
  a.grad_B = floats(dB);
  a.grad_C = floats(dC);
  a.grad_A = floats(dA);
  a.grad_D = floats(dD);
  a.grad_bias = floats(dbias);
  launch_backward(a, current_stream());
  if (!direct) p.sum_like_x(planes, dx);
  return {dx.to(in.x.scalar_type()), summed(ddelta), summed(dB), summed(dC),
          summed(dA), summed(dD), summed(dbias)};
}

// Calls f with the type that kernels read x in: that of x, and of the step sizes if they
// are given for each channel.
template <typename F>
auto with_type(const ScanInputs& in, const ScanSizes& s, const F& f) {
  const at::ScalarType type = in.x.scalar_type();
  if (type == at::kFloat || (s.rank < 0 && in.step.scalar_type() != type)) return f(float());
  return type == at::kHalf ? f(Half()) : f(BFloat16());
}

ScanResults scan(const Tensor& x, const Tensor& step, const OptionalTensor& step_weight,
                 const Tensor& B, const Tensor& C, const Tensor& A, const OptionalTensor& D,
                 const OptionalTensor& bias, const OptionalTensor& positions,
                 at::IntArrayRef paths, int64_t width, bool softplus, bool keep_state,
                 bool keep_checkpoints) {
  const c10::DeviceGuard device(x.device());
  // Results are not views of anything, and may be changed in place.
  const at::AutoDispatchBelowADInplaceOrView guard;
  const ScanInputs in{x, step, step_weight, B, C, A, D, bias, positions, paths, width, softplus};
  const ScanSizes s = check_scan(in);
  if (s.empty()) return empty_results(in, s, keep_state, keep_checkpoints);
  return with_type(in, s, [&](auto type) {
    return scan_as<decltype(type)>(in, s, keep_state, keep_checkpoints);
  });
}

ScanGradients scan_backward(const Tensor& grad_y, const OptionalTensor& grad_last_state,
                            const OptionalTensor& checkpoints, const Tensor& x,
                            const Tensor& step, const OptionalTensor& step_weight,
                            const Tensor& B, const Tensor& C, const Tensor& A,
                            const OptionalTensor& D, const OptionalTensor& bias,
                            const OptionalTensor& positions, at::IntArrayRef paths,
                            int64_t width, bool softplus) {
  const c10::DeviceGuard device(x.device());
  const at::AutoDispatchBelowADInplaceOrView guard;
  const ScanInputs in{x, step, step_weight, B, C, A, D, bias, positions, paths, width, softplus};
  const ScanSizes s = check_scan(in);
  check_gradients(in, s, grad_y, grad_last_state, checkpoints);
  if (s.empty()) return empty_gradients(in, s);
  return with_type(in, s, [&](auto type) {
    return gradients_as<decltype(type)>(in, s, grad_y, grad_last_state, checkpoints);
  });
}

}  // namespace

}  // namespace tinyvim

#if !defined(TINYVIM_CUDA_OPERATORS)
#define TINYVIM_CUDA_OPERATORS tinyvim_mm, CUDA
#endif
// Through a macro of its own, so that the names are expanded first.
#define TINYVIM_REGISTER(...) TORCH_LIBRARY_IMPL(__VA_ARGS__, m)
TINYVIM_REGISTER(TINYVIM_CUDA_OPERATORS) {
  m.impl("scan", tinyvim::scan);
  m.impl("scan_backward", tinyvim::scan_backward);
}
