// SS2D on a CPU. The projections are matrix products on the map as it lies,
// positions by channels; the scan reads them in four orders by index.
#include <ATen/Parallel.h>

#include <vector>

#include "../../common/scan_path.h"
#include "../ops.h"
#include "scan_cpu.h"

namespace tinyvim {

namespace {

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

// (batch, d, H, W) to (batch, H * W, padded d).
at::Tensor positions_first(const Tensor& map) {
  const auto rows = as_float(map).permute({0, 2, 3, 1}).reshape(
      {map.size(0), map.size(2) * map.size(3), map.size(1)});
  return pad_channels(rows);
}

// The reverse, with channels-last strides.
Tensor to_map(const at::Tensor& rows, const Tensor& like) {
  return rows.narrow(2, 0, like.size(1))
      .to(like.scalar_type())
      .contiguous()
      .view({like.size(0), like.size(2), like.size(3), like.size(1)})
      .permute({0, 3, 1, 2});
}

// What forward and backward both need, in the kernels' layout.
struct Prepared {
  int64_t batch, length, d, padded, K, R, N, C;  // C = R + 2N
  at::Tensor x;            // (batch, L, padded)
  at::Tensor x_weight;     // (K * C, padded)
  at::Tensor projected;    // (batch * L, K, C)
  at::Tensor dt_weight;    // (K, padded, R)
  at::Tensor delta;        // (K, batch * L, padded)
  at::Tensor A, D, bias;   // (K, N, padded), (K, padded), (K, padded)
  at::Tensor positions;    // (K, L)

  Prepared(const Tensor& map, const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
           const Tensor& dt_projs_bias, const Tensor& A_logs, const Tensor& Ds,
           at::IntArrayRef paths)
      : batch(map.size(0)),
        length(map.size(2) * map.size(3)),
        d(map.size(1)),
        padded(padded_channels(d)),
        K(dt_projs_weight.size(0)),
        R(dt_projs_weight.size(2)),
        N(A_logs.size(1)),
        C(R + 2 * N),
        x(positions_first(map)),
        x_weight(pad_channels(as_float(x_proj_weight).reshape({K * C, d}))),
        projected(at::mm(x.view({batch * length, padded}), x_weight.t())
                      .view({batch * length, K, C})),
        dt_weight(pad_channels(as_float(dt_projs_weight).transpose(1, 2)).transpose(1, 2)),
        delta(at::bmm(dt_low(), dt_weight.transpose(1, 2))),
        A(pad_channels(as_float(A_logs).exp().neg().view({K, d, N}).transpose(1, 2))),
        D(pad_channels(as_float(Ds).view({K, d}))),
        bias(pad_channels(as_float(dt_projs_bias))),
        positions(path_positions(paths, map.size(2), map.size(3))) {}

  at::Tensor dt_low() const { return projected.narrow(2, 0, R).transpose(0, 1); }

  void fill(ScanArgs* a) const {
    a->batch = batch;
    a->paths = K;
    a->length = length;
    a->channels = padded;
    a->states = N;
    a->positions = positions.const_data_ptr<int32_t>();
    a->softplus = true;
    a->x = x.const_data_ptr<float>();
    a->x_strides = {length * padded, 0, padded};
    a->delta = delta.const_data_ptr<float>();
    a->delta_strides = {length * padded, batch * length * padded, padded};
    a->B = projected.const_data_ptr<float>() + R;
    a->C = a->B + N;
    a->BC_strides = {length * K * C, C, K * C};
    a->A = A.const_data_ptr<float>();
    a->D = D.const_data_ptr<float>();
    a->bias = bias.const_data_ptr<float>();
  }
};

}  // namespace

Tensor ss2d_cpu(const Tensor& x, const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                const Tensor& dt_projs_bias, const Tensor& A_logs, const Tensor& Ds,
                at::IntArrayRef paths) {
  const Prepared p(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds, paths);
  at::Tensor y = at::empty({p.batch, p.K, p.length, p.padded}, p.x.options());
  ForwardArgs args{};
  p.fill(&args);
  args.y = y.data_ptr<float>();
  args.y_strides = {p.K * p.length * p.padded, p.length * p.padded, p.padded};
  args.last_state = nullptr;
  run_forward(args);
  return to_map(ordered_sum(y, 1), x);
}

SS2DGradients ss2d_backward_cpu(const Tensor& grad_y, const Tensor& x,
                                const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                                const Tensor& dt_projs_bias, const Tensor& A_logs,
                                const Tensor& Ds, at::IntArrayRef paths) {
  const Prepared p(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds, paths);
  const at::Tensor dy = positions_first(grad_y);
  const auto options = p.x.options();
  const int64_t groups = channel_groups(p.padded), rows = p.batch * p.length;
  at::Tensor grad_x = at::empty({p.batch, p.K, p.length, p.padded}, options);
  at::Tensor grad_delta = at::empty_like(p.delta);
  at::Tensor grad_B = at::empty({groups, p.batch, p.K, p.length, p.N}, options);
  at::Tensor grad_C = at::empty_like(grad_B);
  at::Tensor grad_A = at::empty({p.batch, p.K, p.N, p.padded}, options);
  at::Tensor grad_D = at::empty({p.batch, p.K, p.padded}, options);
  at::Tensor grad_bias = at::empty_like(grad_D);

  BackwardArgs args{};
  p.fill(&args);
  args.grad_y = dy.const_data_ptr<float>();
  args.grad_y_strides = {p.length * p.padded, 0, p.padded};
  args.grad_last_state = nullptr;
  args.grad_x = grad_x.data_ptr<float>();
  args.grad_delta = grad_delta.data_ptr<float>();
  args.grad_B = grad_B.data_ptr<float>();
  args.grad_C = grad_C.data_ptr<float>();
  args.grad_A = grad_A.data_ptr<float>();
  args.grad_D = grad_D.data_ptr<float>();
  args.grad_bias = grad_bias.data_ptr<float>();
  run_backward(args);

  // Through the projections: three matrix products.
  at::Tensor grad_projected = at::empty({rows, p.K, p.C}, options);
  grad_projected.narrow(2, 0, p.R).copy_(at::bmm(grad_delta, p.dt_weight).transpose(0, 1));
  auto by_row = [&](const at::Tensor& g) { return ordered_sum(g, 0).transpose(1, 2); };
  auto grad_BC = grad_projected.view({p.batch, p.length, p.K, p.C});
  grad_BC.narrow(3, p.R, p.N).copy_(by_row(grad_B));
  grad_BC.narrow(3, p.R + p.N, p.N).copy_(by_row(grad_C));
  const at::Tensor grad_rows = grad_projected.view({rows, p.K * p.C});
  const at::Tensor dx = ordered_sum(grad_x, 1).view({rows, p.padded}).addmm(grad_rows, p.x_weight);
  const at::Tensor dx_weight = at::mm(grad_rows.t(), p.x.view({rows, p.padded}));
  const at::Tensor ddt_weight = at::bmm(grad_delta.transpose(1, 2), p.dt_low());
  const at::Tensor dA = ordered_sum(grad_A, 0) * p.A;  // A = -exp(A_logs)

  return {
      to_map(dx.view({p.batch, p.length, p.padded}), x),
      dx_weight.narrow(1, 0, p.d).reshape({p.K, p.C, p.d}).to(x_proj_weight.scalar_type()),
      ddt_weight.narrow(1, 0, p.d).contiguous().to(dt_projs_weight.scalar_type()),
      ordered_sum(grad_bias, 0).narrow(1, 0, p.d).contiguous().to(dt_projs_bias.scalar_type()),
      dA.narrow(2, 0, p.d).transpose(1, 2).reshape({p.K * p.d, p.N}).to(A_logs.scalar_type()),
      ordered_sum(grad_D, 0).narrow(1, 0, p.d).reshape({p.K * p.d}).to(Ds.scalar_type()),
  };
}

}  // namespace tinyvim
