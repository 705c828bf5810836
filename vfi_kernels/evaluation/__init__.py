"""Measures of made frames, and the benchmarks of the field.

Needs OpenCV and PyAV: `pip install 'vfi-kernels[video]'`.
"""

KINDS = {
    "vimeo90k": "Vimeo90K's test triplets",
    "ucf101": "UCF101's test triplets, whole frames and by motion masks",
    "middlebury": "Middlebury's OTHER, the color frames and their interpolation truth",
    "snu-film": "SNU-FILM, all four levels",
    "xtest": "X4K1000FPS's X-TEST, 4K, eight times the rate",
    "xiph": "eight clips of Xiph, 2K and 4K",
    "videos": "any videos or folders of frames: some are dropped, made again and compared",
    "synthetic": "scenes that no recipe trains on; PATH, photographs for their textures, may be left out",
}
"""What `benchmarks.parts` knows. Here, because the command line lists it without loading anything."""
