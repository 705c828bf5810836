"""``python -m vfi_kernels``: what runs where, and why."""

import platform

import torch

from . import __version__, backends


def main() -> None:
    print(f"vfi-kernels {__version__}, torch {torch.__version__}, Python {platform.python_version()}")
    for device, state in backends().items():
        line = f"{device:6} {state['backend']:10}"
        print(
            " ".join(
                filter(None, [line, state["target"], f"({state['missing']})" if state["missing"] else ""])
            )
        )


if __name__ == "__main__":
    main()
