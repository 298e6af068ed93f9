import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganmix.networks.gan.resample import ConvDownsample2d, DownsampleShortcut, UpsampleConv2d, UpsampleShortcut

SIZES = [(1, 1, 4, 4), (3, 5, 2, 6), (4, 3, 8, 8), (2, 7, 6, 2)]  # channels in and out, height, width
for_every_size = pytest.mark.parametrize(("i", "o", "height", "width"), SIZES)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def textbook_upsample_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(up(x), weight, bias, padding=1)


def textbook_conv_downsample(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)


FOLDED = {UpsampleConv2d: textbook_upsample_conv, ConvDownsample2d: textbook_conv_downsample}
for_each_folded = pytest.mark.parametrize("folded", FOLDED)


def build(folded: type[nn.Conv2d], i: int, o: int) -> nn.Conv2d:
    torch.manual_seed(0)
    return folded(i, o).double()


def assert_same_function(ours, textbook, inputs: list[Tensor]) -> None:
    """Compare outputs and the gradients with respect to every input."""
    expected = textbook(*inputs)
    got = ours(*inputs)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    direction = randn(*expected.shape, seed=9)
    for ours_gradient, gradient in zip(
        torch.autograd.grad((got * direction).sum(), inputs),
        torch.autograd.grad((expected * direction).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours_gradient, gradient, rtol=1e-10, atol=1e-12)


@for_each_folded
@for_every_size
def test_folded_convolution_equals_the_textbooks(folded, i: int, o: int, height: int, width: int):
    conv = build(folded, i, o)
    x = randn(3, i, height, width).requires_grad_()
    inputs = [x, conv.weight, conv.bias]
    assert_same_function(lambda x, weight, bias: conv(x), FOLDED[folded], inputs)


@for_each_folded
def test_folded_convolution_of_channels_last_equals_the_textbooks(folded):
    conv = build(folded, 3, 5).to(memory_format=torch.channels_last)
    x = randn(2, 3, 4, 6).to(memory_format=torch.channels_last)
    expected = FOLDED[folded](x, conv.weight, conv.bias)
    torch.testing.assert_close(conv(x), expected, rtol=1e-10, atol=1e-12)


@for_each_folded
@for_every_size
def test_folded_convolution_under_spectral_norm_equals_the_textbooks(folded, i: int, o: int, height: int, width: int):
    ours = spectral_norm(build(folded, i, o))
    plain = spectral_norm(nn.Conv2d(i, o, 3, padding=1).double())
    plain.load_state_dict(ours.state_dict())  # the power iteration's vectors too
    x = randn(3, i, height, width).requires_grad_()
    inputs = [[x, conv.parametrizations.weight.original, conv.bias] for conv in (ours, plain)]
    for _ in range(3):  # every forward moves the vectors
        got, expected = ours(x), FOLDED[folded](x, plain.weight, plain.bias)
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
        direction = randn(*got.shape, seed=9)
        gradients = [
            torch.autograd.grad((output * direction).sum(), of)
            for output, of in zip((got, expected), inputs, strict=True)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@for_each_folded
def test_first_and_second_gradients_equal_finite_differences(folded):
    conv = build(folded, 2, 1)
    inputs = (randn(1, 2, 2, 2).requires_grad_(), conv.weight, conv.bias)

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        # Tanh, since the second gradient of a convolution alone is 0 in each of its arguments.
        return torch.func.functional_call(conv, {"weight": weight, "bias": bias}, x).tanh()

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@for_every_size
def test_upsampling_shortcut_equals_upsampling_then_convolution(i: int, o: int, height: int, width: int):
    conv = nn.Conv2d(i, o, 1).double()
    x = randn(3, i, height, width).requires_grad_()
    inputs = [x, conv.weight, conv.bias]
    shortcut = UpsampleShortcut(conv)
    assert_same_function(lambda x, *_: shortcut(x), lambda x, w, b: F.conv2d(up(x), w, b), inputs)


def test_upsampling_shortcut_without_convolution_repeats_pixels():
    x = randn(2, 3, 2, 4)
    expected = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(UpsampleShortcut(None)(x), expected)
    assert not list(UpsampleShortcut(None).parameters())


@for_every_size
def test_downsampling_shortcut_equals_convolution_then_pooling(i: int, o: int, height: int, width: int):
    conv = nn.Conv2d(i, o, 1).double()
    x = randn(3, i, height, width).requires_grad_()
    inputs = [x, conv.weight, conv.bias]
    shortcut = DownsampleShortcut(conv)
    assert_same_function(lambda x, *_: shortcut(x), lambda x, w, b: F.avg_pool2d(F.conv2d(x, w, b), 2), inputs)
