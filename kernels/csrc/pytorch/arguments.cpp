#include "arguments.h"

#include <vector>

#include "../common/scan_args.h"

namespace tinyvim {

namespace {

void check_tensor(const char* name, const Tensor& t, const Tensor& x, at::ScalarType type,
                  at::IntArrayRef shape) {
  TORCH_CHECK(t.layout() == at::kStrided, "scan: ", name, " must be dense, got ", t.layout());
  TORCH_CHECK(t.device() == x.device(), "scan: ", name, " is on ", t.device(), ", but x is on ",
              x.device());
  TORCH_CHECK(t.scalar_type() == type, "scan: ", name, " must be ", type, ", got ",
              t.scalar_type());
  TORCH_CHECK(t.sizes() == shape, "scan: ", name, " must have shape ", shape, ", got ",
              t.sizes());
}

void check_optional(const char* name, const OptionalTensor& t, const Tensor& x,
                    at::IntArrayRef shape) {
  if (given(t)) check_tensor(name, *t, x, at::kFloat, shape);
}

// On a GPU nobody looks into the table; kernels do not leave the map there.
void check_rows(const Tensor& positions, const ScanSizes& s) {
  const Tensor rows = positions.contiguous();
  const int32_t* position = rows.const_data_ptr<int32_t>();
  for (int64_t k = 0; k < s.paths; ++k) {
    std::vector<bool> seen(s.length);
    for (int64_t t = 0; t < s.length; ++t, ++position) {
      TORCH_CHECK(0 <= *position && *position < s.length, "scan: positions must be 0 to ",
                  s.length - 1, ", got ", *position);
      TORCH_CHECK(!seen[*position], "scan: row ", k, " of positions holds ", *position, " twice");
      seen[*position] = true;
    }
  }
}

// Paths as codes, or a table of int32; neither: every path reads forwards.
void check_order(const ScanInputs& in, const ScanSizes& s) {
  if (given(in.positions)) {
    check_tensor("positions", *in.positions, in.x, at::kInt, {s.paths, s.length});
    if (in.x.is_cpu()) check_rows(*in.positions, s);
    return;
  }
  if (in.paths.empty()) return;
  TORCH_CHECK(static_cast<int64_t>(in.paths.size()) == s.paths, "scan: paths must hold ", s.paths,
              " codes, as A has, got ", in.paths.size());
  for (int64_t code : in.paths) {
    TORCH_CHECK(0 <= code && code < 4, "scan: a code of paths must be 0 to 3, got ", code);
  }
  TORCH_CHECK(in.width > 0 ? s.length % in.width == 0 : s.length == 0,
              "scan: width must divide the ", s.length, " positions, got ", in.width);
}

}  // namespace

ScanSizes check_scan(const ScanInputs& in) {
  const at::ScalarType type = in.x.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kHalf || type == at::kBFloat16,
              "scan: x must be float32, float16 or bfloat16, got ", type);
  TORCH_CHECK(in.x.dim() == 4, "scan: x must have shape (batch, maps, L, d), got ",
              in.x.sizes());
  TORCH_CHECK(in.A.dim() == 3, "scan: A must have shape (K, N, d), got ", in.A.sizes());
  ScanSizes s{};
  s.batch = in.x.size(0);
  s.maps = in.x.size(1);
  s.length = in.x.size(2);
  s.channels = in.x.size(3);
  s.paths = in.A.size(0);
  s.states = in.A.size(1);
  s.segments = (s.length + kCheckpoint - 1) / kCheckpoint;
  TORCH_CHECK(s.paths > 0 && s.states > 0, "scan: A must hold a path and a state, got ",
              in.A.sizes());
  TORCH_CHECK(s.maps == 1 || s.maps == s.paths, "scan: x must hold 1 map or one for each of the ",
              s.paths, " paths, got ", s.maps);
  TORCH_CHECK(s.length <= INT32_MAX / 2, "scan: L must be below 2^30, got ", s.length);
  check_tensor("x", in.x, in.x, type, in.x.sizes());
  check_tensor("A", in.A, in.x, at::kFloat, {s.paths, s.states, s.channels});
  if (given(in.step_weight)) {
    TORCH_CHECK(in.step_weight->dim() == 3, "scan: step_weight must have shape (K, R, d), got ",
                in.step_weight->sizes());
    s.rank = in.step_weight->size(1);
    check_tensor("step_weight", *in.step_weight, in.x, at::kFloat, {s.paths, s.rank, s.channels});
    check_tensor("step", in.step, in.x, at::kFloat, {s.batch, s.paths, s.length, s.rank});
  } else {
    s.rank = -1;
    const bool plain = in.step.scalar_type() == at::kFloat;
    check_tensor("step", in.step, in.x, plain ? at::kFloat : type,
                 {s.batch, s.paths, s.length, s.channels});
  }
  for (const auto& [name, t] : {std::pair<const char*, const Tensor&>{"B", in.B}, {"C", in.C}}) {
    check_tensor(name, t, in.x, at::kFloat, {s.batch, s.paths, s.length, s.states});
  }
  check_optional("D", in.D, in.x, {s.paths, s.channels});
  check_optional("bias", in.bias, in.x, {s.paths, s.channels});
  check_order(in, s);
  return s;
}

void check_gradients(const ScanInputs& in, const ScanSizes& s, const Tensor& grad_y,
                     const OptionalTensor& grad_last_state, const OptionalTensor& checkpoints) {
  check_tensor("grad_y", grad_y, in.x, in.x.scalar_type(), in.x.sizes());
  check_optional("grad_last_state", grad_last_state, in.x,
                 {s.batch, s.paths, s.states, s.channels});
  check_optional("checkpoints", checkpoints, in.x,
                 {s.batch, s.paths, s.segments, s.states, s.channels});
}

ScanResults empty_results(const ScanInputs& in, const ScanSizes& s, bool keep_state,
                          bool keep_checkpoints) {
  const auto options = in.x.options().dtype(at::kFloat);
  return {at::zeros(in.x.sizes(), in.x.options()),
          keep_state ? at::zeros({s.batch, s.paths, s.states, s.channels}, options)
                     : at::empty({0}, options),
          keep_checkpoints
              ? at::zeros({s.batch, s.paths, s.segments, s.states, s.channels}, options)
              : at::empty({0}, options)};
}

ScanGradients empty_gradients(const ScanInputs& in, const ScanSizes& s) {
  const auto options = in.x.options().dtype(at::kFloat);
  return {at::zeros(in.x.sizes(), in.x.options()),
          at::zeros({s.paths, s.batch, s.length, s.channels}, options),
          at::zeros({s.batch, s.paths, s.length, s.states}, options),
          at::zeros({s.batch, s.paths, s.length, s.states}, options),
          at::zeros({s.paths, s.states, s.channels}, options),
          at::zeros({s.paths, s.channels}, options),
          at::zeros({s.paths, s.channels}, options)};
}

}  // namespace tinyvim
