"""Print as JSON which ptxas XLA itself selects, and whether it could do without; needs no GPU.

Functions of TensorFlow's C++ are called by their mangled names, which fit TensorFlow 2.21 only: for tests.
"""

import ctypes
import json
import sysconfig
from pathlib import Path

FIND_PTXAS = "_ZN15stream_executor19FindPtxAsExecutableB5cxx11ESt17basic_string_viewIcSt11char_traitsIcEE"
HAS_NVJITLINK = "_ZN15stream_executor23IsLibNvJitLinkSupportedEv"
HAS_PTX_COMPILER = "_ZN15stream_executor27IsLibNvPtxCompilerSupportedEv"
FOLDER = b"./cuda_sdk_lib"  # default of --xla_gpu_cuda_data_dir


class StatusOrString(ctypes.Structure):
    """absl::StatusOr<std::string>, in which 1 is OK."""

    _fields_ = (
        ("status", ctypes.c_uint64),
        ("text", ctypes.c_void_p),
        ("length", ctypes.c_uint64),
        ("_inline", ctypes.c_char * 16),
    )


def main() -> None:
    """Load TensorFlow's two libraries and ask them."""
    folder = Path(sysconfig.get_path("platlib")) / "tensorflow"
    framework = ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    xla = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    found = StatusOrString()
    xla[FIND_PTXAS].restype = None
    xla[FIND_PTXAS](ctypes.byref(found), ctypes.c_uint64(len(FOLDER)), ctypes.c_char_p(FOLDER))
    supported = [bool(framework[name]() & 0xFF) for name in (HAS_NVJITLINK, HAS_PTX_COMPILER)]
    ptxas = ctypes.string_at(found.text, found.length).decode() if found.status == 1 else None
    print(json.dumps({"ptxas": ptxas, "compiles_without_ptxas": any(supported)}))


if __name__ == "__main__":
    main()
