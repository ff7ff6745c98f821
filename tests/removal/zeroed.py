"""Networks as pruning leaves them: channels zeroed at random, statistics, norms and biases that are not trivial."""

import torch
from torch import nn

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def zeroed(model, share, *, norms=0.0, seed=0, linear=False, shape=None):
    """``model`` in eval mode with ``share`` of the filters of every Conv zeroed.

    Args:
        norms: Share of the scales of every batch norm that are zeroed too.
        linear: Zero units of every Linear too, but for the last.
        shape: Of a batch; the norms' statistics are then those of two random batches, after zeroing. Else random, with
            which a deep network answers nearly the same to all inputs. In a network without any norm each layer's weights
            are scaled instead, so that its outputs differ by 1 (standard deviation) between the inputs of a batch.
    """
    generator = torch.Generator().manual_seed(seed)
    normal = lambda tensor, std: tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)
    uniform = lambda tensor: tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    some = lambda width, share: torch.randperm(width, generator=generator)[: round(width * share)]
    layers = [m for m in model.modules() if isinstance(m, (*CONVS, nn.Linear))]
    for module in model.modules():
        if isinstance(module, NORMS):
            normal(module.running_mean, 0.1)
            uniform(module.running_var)
            if module.affine:
                uniform(module.weight)
                normal(module.bias, 0.2)
                module.weight[some(len(module.weight), norms)] = 0
        elif isinstance(module, (*CONVS, nn.Linear)):
            if module.bias is not None:
                normal(module.bias, 0.1)
            if module is not layers[-1] and (linear or isinstance(module, CONVS)):
                module.weight[some(len(module.weight), share)] = 0
    if shape is not None and not any("Norm" in type(module).__name__ for module in model.modules()):
        handles = [layer.register_forward_hook(_scale) for layer in layers]
        model.eval()(torch.rand(shape, generator=generator))
        for handle in handles:
            handle.remove()
    elif shape is not None:
        norms = [module for module in model.train().modules() if isinstance(module, NORMS)]
        for module in norms:
            module.reset_running_stats()
            module.momentum = None
        for _ in range(2 if norms else 0):
            model(torch.rand(shape, generator=generator))
    return model.eval()


def _scale(layer, inputs, output):
    factor = 1 / output.std(0).max().clamp(min=1e-30)
    layer.weight.mul_(factor)
    return layer.forward(*inputs)
