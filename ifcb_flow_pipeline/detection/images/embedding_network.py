"""The network of ``embedding`` put together as ONNX, from the weights of EfficientNet-lite0 (Tan and Le 2019).

Grey images have one channel: the first layer's weights of red, green and blue are added. Normalisation by batches is
folded into the weights, and the last layer, which names what is in photographs, is left out.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.embedding import N_NUMBERS, SIDE_PX

#: Blocks of each stage, and the step of the first of them.
_STAGES: Final = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))

#: Added to variances where the network was trained.
_EPSILON = 1e-3

_OPSET, _FORMAT = 17, 9


def network_of(weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The network as the content of an ONNX file: ``image``, (n, 1, SIDE_PX, SIDE_PX), to ``embedding``,
    (n, N_NUMBERS). ``weights``: arrays by the names of the package. KeyError where one is missing.
    """
    import onnx  # pyright: ignore[reportMissingImports] - an extra
    from onnx import TensorProto, helper  # pyright: ignore[reportMissingImports] - an extra

    graph = _Graph(weights)
    x = graph.convolution("image", "_conv_stem", "_bn0", step=2)
    number = 0
    for blocks, first_step in _STAGES:
        for at in range(blocks):
            x = graph.block(x, f"_blocks.{number}.", first_step if at == 0 else 1, is_first=at == 0)
            number += 1
    x = graph.convolution(x, "_conv_head", "_bn1")
    graph.add("GlobalAveragePool", [x], "pooled")
    graph.add("Flatten", ["pooled"], "embedding", axis=1)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, SIDE_PX, SIDE_PX])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", N_NUMBERS])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "efficientnet-lite0", [image], [embedding], graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_FORMAT,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Graph:
    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.side = SIDE_PX
        self._constant("least", np.array(0, np.float32))
        self._constant("most", np.array(6, np.float32))

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper  # pyright: ignore[reportMissingImports] - an extra

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def block(self, x: str, name: str, step: int, is_first: bool) -> str:
        """Widened, convolved by channels, narrowed; added to what came in where that has the same shape."""
        inner = self.convolution(x, f"{name}_expand_conv", f"{name}_bn0") if f"{name}_bn0.weight" in self.weights else x
        inner = self.convolution(inner, f"{name}_depthwise_conv", f"{name}_bn1", step, by_channel=True)
        inner = self.convolution(inner, f"{name}_project_conv", f"{name}_bn2", limited=False)
        return inner if is_first else self.add("Add", [x, inner], f"{name}sum")

    def convolution(
        self, x: str, name: str, normal: str, step: int = 1, *, by_channel: bool = False, limited: bool = True
    ) -> str:
        kernel = self.weights[f"{name}.weight"].astype(np.float64)
        mean, variance, scale, shift = (
            self.weights[f"{normal}.{part}"].astype(np.float64)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        gain = scale / np.sqrt(variance + _EPSILON)
        if x == "image":
            kernel = kernel.sum(axis=1, keepdims=True)
        self._constant(f"{name}.kernel", (kernel * gain[:, None, None, None]).astype(np.float32))
        self._constant(f"{name}.bias", (shift - mean * gain).astype(np.float32))
        out = self.add(
            "Conv", [x, f"{name}.kernel", f"{name}.bias"], f"{name}.out", kernel_shape=list(kernel.shape[2:]),
            strides=[step, step], pads=self._margins(kernel.shape[2], step), group=len(kernel) if by_channel else 1,
        )  # fmt: skip
        return self.add("Clip", [out, "least", "most"], f"{name}.limited") if limited else out

    def _margins(self, width: int, step: int) -> list[int]:
        """Zeros around the image so that its side is divided by the step; more of them after than before it."""
        side = -(-self.side // step)
        missing = max((side - 1) * step + width - self.side, 0)
        self.side = side
        before, after = missing // 2, missing - missing // 2
        return [before, before, after, after]

    def _constant(self, name: str, array: NDArray[np.float32]) -> None:
        from onnx import numpy_helper  # pyright: ignore[reportMissingImports] - an extra

        self.constants.append(numpy_helper.from_array(array, name))
