"""In and out: weights of other frameworks.

- `safetensors`: the exchange format of weights (`save_safetensors`, `load_safetensors`)
- `files`: how every file from elsewhere is opened, and how its errors are told
"""

from allconv.interop.safetensors import load_safetensors, save_safetensors

__all__ = ["load_safetensors", "save_safetensors"]
