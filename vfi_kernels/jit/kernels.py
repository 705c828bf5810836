"""The operators over kernels that are launched one by one: what csrc/torch does for the compiled library.

The launcher is handed in, so that the same code drives CuPy on a GPU and the CUDA emulator of the tests.
"""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from vfi_kernels.jit import band
from vfi_kernels.jit.choice import (
    BACKWARP_PIECES,
    MAX_GRID_YZ,
    PIECES,
    WIDE,
    WIDE_PIECES,
    is_tuned_backwarp,
    pair_step,
    tiles,
    wants_simple,
)
from vfi_kernels.jit.ordered import gather_frames
from vfi_kernels.jit.params import (
    DTYPE_CODES,
    MAX_IMAGES,
    TYPE_NAMES,
    BackwarpParams,
    FramePair,
    SepconvParams,
    SepconvTerm,
    View,
    VoxelFlowParams,
    WarpBlendParams,
    view,
)
from vfi_kernels.ops._register import ORDERED
from vfi_kernels.reference.numbers import layout_of, sum_dtype

THREADS = 128  # kThreads
COLOURS = 3  # kColours

# launch(source file, kernel, grid, block, bytes of shared memory, parameters, device)
Launch = Callable[
    [str, str, tuple[int, int, int], tuple[int, int, int], int, ctypes.Structure, torch.device], None
]
# Bytes of shared memory that a block may have on a device, 0 where it lacks the tensor-core instructions.
SharedLimit = Callable[[torch.device], int]


def _grid(n: int, h: int, w: int) -> tuple[int, int, int]:
    return (w + THREADS - 1) // THREADS, min(h, MAX_GRID_YZ), min(n, MAX_GRID_YZ)


def _empty(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=layout_of(like))


class _Gradients:
    """The gradients of an operation's inputs, of which `needs` asks for some: bit i for input i."""

    def __init__(self, needs: int) -> None:
        self._needs = needs
        self.ordered = bool(needs & ORDERED)
        self.results: list[Tensor] = []

    def next(self, like: Tensor, dtype: torch.dtype, *, zeroed: bool = False) -> Tensor | None:
        """The gradient of the next input, None where it is not wanted; `zeroed` for those that a kernel adds
        to.
        """
        wanted = self._needs >> len(self.results) & 1
        result = _empty(like, tuple(like.shape), dtype) if wanted else like.new_empty((0,), dtype=dtype)
        self.results.append(result)
        if not wanted:
            return None
        return result.zero_() if zeroed else result


def _pair(frame0: Tensor, frame1: Tensor, flow: Tensor, padding: str) -> FramePair:
    n, frames = flow.shape[0], frame0.shape[0]
    _, c, h, w = frame0.shape
    return FramePair(
        frame0=view(frame0), frame1=view(frame1), n=n, c=c, h=h, w=w,
        repeat=n // frames if frames else 1, padding=int(padding == "zeros"),
    )  # fmt: skip


class Kernels:
    """Functions with the signatures of ``torch.ops.vfi_kernels``, on the device that `launch` serves."""

    def __init__(self, launch: Launch, shared_limit: SharedLimit) -> None:
        self._launch = launch
        self._shared_limit = shared_limit

    def _run(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int, int],
        params: ctypes.Structure,
        like: Tensor,
        shared: int = 0,
    ) -> None:
        if all(grid):
            self._launch(source, kernel, grid, (THREADS, 1, 1), shared, params, like.device)

    def _run_pair(self, kernel: str, op: str, params: ctypes.Structure, frame: Tensor, flow: Tensor) -> None:
        types = f"{TYPE_NAMES[frame.dtype]}, {TYPE_NAMES[flow.dtype]}"
        pair = params.pair
        step = 0 if frame.dtype == torch.float64 else pair_step(params, frame.element_size())
        grid = tiles(pair.n, pair.h, pair.w)
        if not step:
            file, name, grid = "pair.cuh", f"pair_{kernel}<{op}<{types}>>", _grid(pair.n, pair.h, pair.w)
        elif kernel == "forward" and step == WIDE:
            file, name = "tuned_pair_wide.cuh", f"pair_forward_wide<{op}<{types}>>"
            grid = tiles(pair.n, pair.h, pair.w, WIDE_PIECES)
        elif kernel == "backward" and pair.c != COLOURS:
            file, name = "tuned_pair_channels.cuh", f"pair_backward_channels<{op}<{types}>>"
        else:
            file = "tuned_pair.cuh" if kernel == "forward" else "tuned_pair_backward.cuh"
            name = f"pair_{kernel}_tuned<{op}<{types}>, {step}, {pair.padding}>"
        self._run(file, name, grid, params, frame)

    def _run_pair_backward(
        self, op: str, params: ctypes.Structure, frame: Tensor, flow: Tensor, grads: _Gradients
    ) -> None:
        pair = params.pair
        if grads.ordered:
            if pair.n and (pair.grad_frame0.data or pair.grad_frame1.data):
                types = f"{TYPE_NAMES[frame.dtype]}, {TYPE_NAMES[flow.dtype]}"
                self._gather_frames(f"PairReads<{op}<{types}>>", params, pair, 2, 2, pair.c, frame)
            pair.grad_frame0 = pair.grad_frame1 = View()
            if not any(result.numel() for result in grads.results[2:]):
                return
        self._run_pair("backward", op, params, frame, flow)

    def _gather_frames(self, reads: str, params: ctypes.Structure, *rest) -> None:
        def run(kernel: str, grid: tuple[int, int, int]) -> None:
            self._run("ordered.cuh", kernel, grid, params, rest[-1])

        gather_frames(run, reads, *rest)

    # warp_blend

    def _warp_blend_params(
        self, frame0: Tensor, frame1: Tensor, flow0: Tensor, flow1: Tensor, mask: Tensor,
        timestep: Tensor | None, mask_is_logits: bool, padding: str,
    ) -> WarpBlendParams:  # fmt: skip
        if timestep is not None and not timestep.is_contiguous():
            raise ValueError("warp_blend: timestep must be contiguous here, as the public function makes it")
        return WarpBlendParams(
            pair=_pair(frame0, frame1, flow0, padding),
            flow0=view(flow0),
            flow1=view(flow1),
            mask=view(mask),
            timestep=None if timestep is None else timestep.data_ptr(),
            mask_is_logits=mask_is_logits,
        )

    def warp_blend(self, frame0: Tensor, frame1: Tensor, flow0: Tensor, *inputs) -> Tensor:
        params = self._warp_blend_params(frame0, frame1, flow0, *inputs)
        out = _empty(frame0, (flow0.shape[0], *frame0.shape[1:]), frame0.dtype)
        params.pair.out = view(out)
        self._run_pair("forward", "WarpBlend", params, frame0, flow0)
        return out

    def _warp_blend_backward(
        self, grad: Tensor, frame0: Tensor, frame1: Tensor, flow0: Tensor, flow1: Tensor, mask: Tensor, *rest
    ) -> list[Tensor]:
        *rest, needs = rest
        params = self._warp_blend_params(frame0, frame1, flow0, flow1, mask, *rest)
        sums = sum_dtype(frame0.dtype)
        grads = _Gradients(needs)
        params.pair.grad_out = view(grad)
        params.pair.grad_frame0 = view(grads.next(frame0, sums, zeroed=True))
        params.pair.grad_frame1 = view(grads.next(frame1, sums, zeroed=True))
        params.grad_flow0 = view(grads.next(flow0, flow0.dtype))
        params.grad_flow1 = view(grads.next(flow1, flow1.dtype))
        params.grad_mask = view(grads.next(mask, mask.dtype))
        # A contiguous map of the mask's size; one channel is contiguous in either layout, so a new tensor is
        # followed.
        grad_timestep = grads.next(mask.new_empty(mask.shape), sums)
        params.grad_timestep = None if grad_timestep is None else grad_timestep.data_ptr()
        self._run_pair_backward("WarpBlend", params, frame0, flow0, grads)
        return grads.results

    # voxel_flow

    def _voxel_flow_params(
        self, frame0: Tensor, frame1: Tensor, flow: Tensor, mode: str, padding: str
    ) -> VoxelFlowParams:
        return VoxelFlowParams(
            pair=_pair(frame0, frame1, flow, padding), flow=view(flow), extrapolate=mode == "extrapolate"
        )

    def voxel_flow(self, frame0: Tensor, frame1: Tensor, flow: Tensor, mode: str, padding: str) -> Tensor:
        params = self._voxel_flow_params(frame0, frame1, flow, mode, padding)
        out = _empty(frame0, (flow.shape[0], *frame0.shape[1:]), frame0.dtype)
        params.pair.out = view(out)
        self._run_pair("forward", "VoxelFlow", params, frame0, flow)
        return out

    def _voxel_flow_backward(
        self, grad: Tensor, frame0: Tensor, frame1: Tensor, flow: Tensor, mode: str, padding: str, needs: int
    ) -> list[Tensor]:
        params = self._voxel_flow_params(frame0, frame1, flow, mode, padding)
        sums = sum_dtype(frame0.dtype)
        grads = _Gradients(needs)
        params.pair.grad_out = view(grad)
        params.pair.grad_frame0 = view(grads.next(frame0, sums, zeroed=True))
        params.pair.grad_frame1 = view(grads.next(frame1, sums, zeroed=True))
        params.grad_flow = view(grads.next(flow, flow.dtype))
        self._run_pair_backward("VoxelFlow", params, frame0, flow, grads)
        return grads.results

    # backwarp

    def _backwarp_params(self, images: list[Tensor], flow: Tensor, padding: str) -> BackwarpParams:
        n, _, h, w = flow.shape
        frames = images[0].shape[0]
        if len(images) > MAX_IMAGES:
            raise ValueError(f"backwarp: at most {MAX_IMAGES} images in a launch; got {len(images)}")
        params = BackwarpParams(
            flow=view(flow), count=len(images), n=n, h=h, w=w,
            repeat=n // frames if frames else 1, padding=int(padding == "zeros"),
        )  # fmt: skip
        for slot, image in zip(params.images, images, strict=False):
            slot.image = view(image)
            slot.channels = image.shape[1]
            slot.dtype = DTYPE_CODES[image.dtype]
        return params

    def _run_backwarp(self, kernel: str, params: BackwarpParams, images: list[Tensor], flow: Tensor) -> None:
        flow_type, sums = TYPE_NAMES[flow.dtype], sum_dtype(images[0].dtype)
        sizes = [image.element_size() for image in images]
        if sums == torch.float32 and is_tuned_backwarp(params, sizes):
            file = "tuned_backwarp.cuh" if kernel == "forward" else "tuned_backwarp_backward.cuh"
            name = f"backwarp_{kernel}_tuned<{flow_type}, {params.padding}>"
            pieces = BACKWARP_PIECES if kernel == "forward" else PIECES
            self._run(file, name, tiles(params.n, params.h, params.w, pieces), params, flow)
        else:
            name = f"backwarp_{kernel}<{flow_type}, {TYPE_NAMES[sums]}>"
            self._run("backwarp.cuh", name, _grid(params.n, params.h, params.w), params, flow)

    def backwarp(self, images: list[Tensor], flow: Tensor, padding: str) -> list[Tensor]:
        params = self._backwarp_params(images, flow, padding)
        outs = [_empty(image, (flow.shape[0], *image.shape[1:]), image.dtype) for image in images]
        for slot, out in zip(params.images, outs, strict=False):
            slot.out = view(out)
        self._run_backwarp("forward", params, images, flow)
        return outs

    def _backwarp_backward(
        self, grads_out: list[Tensor], images: list[Tensor], flow: Tensor, padding: str, needs: int
    ) -> list[Tensor]:
        params = self._backwarp_params(images, flow, padding)
        grads = _Gradients(needs)
        for slot, image, grad in zip(params.images, images, grads_out, strict=False):
            slot.grad_out = view(grad)
            slot.grad_image = view(grads.next(image, sum_dtype(image.dtype), zeroed=True))
        params.grad_flow = view(grads.next(flow, flow.dtype))
        if grads.ordered:
            channels = [slot.channels for slot in params.images if slot.grad_image.data]
            if params.n and channels:
                reads = f"BackwarpReads<{TYPE_NAMES[flow.dtype]}, {TYPE_NAMES[sum_dtype(images[0].dtype)]}>"
                self._gather_frames(reads, params, params, 1, len(images), max(channels), flow)
            for slot in params.images:
                slot.grad_image = View()
            if not params.grad_flow.data:
                return grads.results
        self._run_backwarp("backward", params, images, flow)
        return grads.results

    # sepconv

    def _sepconv_params(
        self, images: list[Tensor], verticals: list[Tensor], horizontals: list[Tensor], padding: str
    ) -> SepconvParams:
        n, _, h, w = verticals[0].shape
        params = SepconvParams(terms=len(images), n=n, c=images[0].shape[1], h=h, w=w)
        terms = zip(params.term, images, verticals, horizontals, strict=False)
        for term, image, vertical, horizontal in terms:
            term.image, term.vertical, term.horizontal = view(image), view(vertical), view(horizontal)
            term.kv, term.kh = vertical.shape[1], horizontal.shape[1]
            term.image_h, term.image_w = image.shape[2:]
            if padding == "replicate":
                term.top, term.left = (term.kv - 1) // 2, (term.kh - 1) // 2
        return params

    def _run_band(
        self, kernel: str, terms: list[SepconvTerm], params: SepconvParams, image: Tensor, taps: Tensor
    ) -> bool:
        """Launches a tensor-core kernel of sepconv; False where none can do it."""
        served = torch.float64 not in (image.dtype, taps.dtype) and not wants_simple()
        if not (served and all(map(band.suits, terms))):
            return False
        coarse = bool(params.coarse) and image.dtype == taps.dtype == torch.float32
        if kernel == "image":
            grid, shared = (
                band.image_grid(params),
                band.image_shared_bytes(params, taps.element_size(), coarse),
            )
        else:
            grid = band.grid(params)
            shared = band.shared_bytes(params, image.element_size(), taps.element_size(), coarse)
        if max(grid[1:]) > MAX_GRID_YZ or shared > self._shared_limit(taps.device):
            return False
        types = f"{TYPE_NAMES[image.dtype]}, {TYPE_NAMES[taps.dtype]}, {str(coarse).lower()}"
        source = f"sepconv_band_{kernel if kernel in ('forward', 'image') else 'backward'}.cuh"
        self._run(source, f"sepconv_band_{kernel}<{types}>", grid, params, taps, shared)
        return True

    def _run_plain(self, kernel: str, params: SepconvParams, image: Tensor, taps: Tensor) -> None:
        """Launches a kernel of sepconv that needs no tensor cores: forward, vertical, horizontal or image."""
        types = f"{TYPE_NAMES[image.dtype]}, {TYPE_NAMES[taps.dtype]}"
        term = params.term[params.selected]
        if wants_simple():
            sizes = {
                "forward": (params.h, params.w),
                "vertical": (params.h * term.kv, params.w),
                "horizontal": (params.h * term.kh, params.w),
                "image": (term.image_h, term.image_w),
            }
            name = kernel if kernel == "forward" else f"backward_{kernel}"
            self._run(
                "sepconv.cuh", f"sepconv_{name}<{types}>", _grid(params.n, *sizes[kernel]), params, taps
            )
        else:
            file = "sepconv_tiled.cuh" if kernel == "forward" else "sepconv_tiled_backward.cuh"
            names = {"vertical": "taps<true, ", "horizontal": "taps<false, "}
            name = f"sepconv_tiled_{names.get(kernel, f'{kernel}<')}{types}>"
            grid = band.tiled_grid(params, kernel, sum_dtype(image.dtype).itemsize)
            self._run(file, name, grid, params, taps)

    def sepconv(
        self,
        images: list[Tensor],
        verticals: list[Tensor],
        horizontals: list[Tensor],
        padding: str,
        coarse: bool,
    ) -> Tensor:
        params = self._sepconv_params(images, verticals, horizontals, padding)
        params.coarse = coarse
        out = _empty(images[0], (params.n, params.c, params.h, params.w), images[0].dtype)
        params.out = view(out)
        terms = list(params.term[: params.terms])
        if not self._run_band("forward", terms, params, images[0], verticals[0]):
            self._run_plain("forward", params, images[0], verticals[0])
        return out

    def _sepconv_backward(
        self, grad: Tensor, images: list[Tensor], verticals: list[Tensor], horizontals: list[Tensor],
        padding: str, coarse: bool, needs: int,
    ) -> list[Tensor]:  # fmt: skip
        params = self._sepconv_params(images, verticals, horizontals, padding)
        params.coarse = coarse
        params.grad_out = view(grad)
        grads = _Gradients(needs)
        terms = zip(params.term, images, verticals, horizontals, strict=False)
        for term, image, vertical, horizontal in terms:
            term.grad_image = view(grads.next(image, sum_dtype(image.dtype)))
            term.grad_vertical = view(grads.next(vertical, vertical.dtype))
            term.grad_horizontal = view(grads.next(horizontal, horizontal.dtype))
        for index in range(params.terms):
            term = params.term[index]
            params.selected = index
            results = {
                "vertical": term.grad_vertical, "horizontal": term.grad_horizontal, "image": term.grad_image
            }  # fmt: skip
            for name, result in results.items():
                if not result.data:
                    continue
                tensor_cores = (name == "image" or result.x == 1) and params.c <= band.CHANNELS
                if not (tensor_cores and self._run_band(name, [term], params, images[0], verticals[0])):
                    self._run_plain(name, params, images[0], verticals[0])
        return grads.results


OPERATORS = [
    "backwarp", "_backwarp_backward", "warp_blend", "_warp_blend_backward",
    "voxel_flow", "_voxel_flow_backward", "sepconv", "_sepconv_backward",
]  # fmt: skip
