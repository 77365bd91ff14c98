"""Builds the compiled data plane: Cython over the system's libnghttp2, found with pkg-config.

`MESHCTL_ASAN=1` builds it with AddressSanitizer (see `make test-asan`).
"""

import os
import shlex
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ASAN = os.environ.get("MESHCTL_ASAN") == "1"


def pkg_config(*arguments: str) -> list[str]:
    command = [os.environ.get("PKG_CONFIG", "pkg-config"), *arguments, "libnghttp2 >= 1.52"]
    try:
        return shlex.split(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            "libnghttp2 1.52 or newer and pkg-config are needed to build the data plane:\n"
            "    apt-get install libnghttp2-dev pkg-config gcc python3-dev"
        ) from error


compile_arguments = [*pkg_config("--cflags"), "-O2", "-fno-plt"]
link_arguments = pkg_config("--libs")
if ASAN:
    compile_arguments += ["-O1", "-g", "-fsanitize=address", "-fno-omit-frame-pointer"]
    link_arguments += ["-fsanitize=address"]

extensions = [
    Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        extra_compile_args=compile_arguments,
        extra_link_args=link_arguments,
    )
    for path in sorted(Path("proxy/dataplane").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": True,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "binding": False,
        },
    )
)
