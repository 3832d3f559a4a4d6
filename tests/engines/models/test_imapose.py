"""IMAPose's grouped convolutions equal a loop over the joints."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from engines.models.hrnet import HRNetConfig  # noqa: E402
from engines.models.imapose import KERNEL, IMAPose, KeypointMotionEncoder, MotionDrivenDecoder  # noqa: E402

B, C, J, H, W = 2, 6, 5, 20, 14


def test_the_grouped_encoder_equals_one_branch_a_joint() -> None:
    encoder = KeypointMotionEncoder(C, J, hidden=4)
    phi = torch.randn(B, C, H, W)
    grouped = encoder(phi)
    for j in range(J):
        x = phi
        for layer in encoder.convolutions:
            if not isinstance(layer, torch.nn.Conv2d):
                x = layer(x)
                continue
            mine = slice(4 * j, 4 * j + 4)
            x = F.conv2d(x, layer.weight[mine], layer.bias[mine], layer.stride, layer.padding)
        rows = slice(j * C * KERNEL**2, (j + 1) * C * KERNEL**2)
        kernel = x.mean(dim=(2, 3)) @ encoder.connected.weight[rows, :, 0, 0].T + encoder.connected.bias[rows]
        torch.testing.assert_close(grouped[:, j].flatten(1), kernel)


def test_one_convolution_equals_the_depthwise_and_the_pointwise_of_each_joint() -> None:
    decoder = MotionDrivenDecoder(C, J)
    torch.nn.init.normal_(decoder.join)
    torch.nn.init.normal_(decoder.bias)
    psi, kernels = torch.randn(B, C, H, W), torch.randn(B, J, C, KERNEL, KERNEL)
    together = decoder(psi, kernels)
    for b in range(B):
        for j in range(J):
            maps = F.conv2d(psi[b : b + 1], kernels[b, j, :, None], padding=1, groups=C)  # Ψ ⊗ K_j: C maps
            heatmap = F.conv2d(maps, decoder.join[j].reshape(1, C, 1, 1), decoder.bias[j : j + 1])
            torch.testing.assert_close(together[b, j], heatmap[0, 0], rtol=1e-5, atol=1e-5)


def test_one_kernel_is_shared_by_all_joints() -> None:
    decoder = MotionDrivenDecoder(C, J)
    torch.nn.init.normal_(decoder.join)
    psi, kernel = torch.randn(B, C, H, W), torch.randn(B, 1, C, KERNEL, KERNEL)
    torch.testing.assert_close(decoder(psi, kernel), decoder(psi, kernel.expand(-1, J, -1, -1, -1)))


@pytest.mark.parametrize(("std", "alive"), [(None, True), (0.001, False)])
def test_kernels_depend_on_the_motion_from_the_start_unless_initialised_as_in_the_paper(
    std: float | None, alive: bool
) -> None:
    micro = HRNetConfig(width=C, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)
    model = IMAPose(micro, 1, dilations=(1,), std=std)
    features = torch.randn(B, 3, C, H, W)
    kernels = model.kme(model.phi(model.differences(features)))
    spread = float((kernels[0] - kernels[1]).std())
    assert (spread > 0.01) is alive
    still = model.kme(model.phi(model.differences(features[:, 1:2].expand(-1, 3, -1, -1, -1))))
    assert float(still.abs().max()) == 0  # biases begin at 0
