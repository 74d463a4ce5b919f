"""The compiled modules and their flags; everything else stands in pyproject.toml.

CNN_EXT_DEBUG=1 builds without optimization, with assertions and Cython's bounds checks.
"""

import os
import re
import shutil
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

from Cython.Build import cythonize  # isort: skip  (setuptools must come first)

DEBUG = os.environ.get("CNN_EXT_DEBUG") == "1"

# One glue module a concept. No contraction of a * b + c: results must not depend on the compiler's mood. Symbols are
# hidden, or those of the same name in another library of the process could take the place of ours.
UNIX_FLAGS = ["-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra", "-pthread"]
UNIX_FLAGS += ["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g0"]
# On Windows clang-cl, which comes with Visual Studio and LLVM: the kernels need vector types, which MSVC's own lacks.
WINDOWS_FLAGS = ["/Od" if DEBUG else "/O2", "/std:c11", "/clang:-ffp-contract=off", "/clang:-fno-math-errno"]

OURS = os.listdir("src")


def extension(name, *c_files):
    sources = [f"src/_{name}.pyx", *(f"src/{c_file}" for c_file in c_files)]
    return Extension(f"cnn_ext._{name}", sources, include_dirs=["src"], depends=headers_of(sources))


def headers_of(sources):
    """Return those of our headers that the sources need, also through others: a change builds no more than that."""
    found = list(sources)
    for path in found:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        names = re.findall(r'"(\w+\.h)"', text)
        names += [f"{name}.pxd" for name in re.findall(r"^from (\w+) cimport", text, re.MULTILINE)]
        found += [f"src/{name}" for name in dict.fromkeys(names) if f"src/{name}" not in found and name in OURS]
    return found[len(sources) :]


class BuildExt(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or True  # as many modules at once as there are CPUs

    def build_extensions(self):
        if self.compiler.compiler_type in ("mingw32", "cygwin"):
            sys.exit("GCC keeps no wide vectors aligned on Windows' stack (its bug 54412): build with clang-cl")
        unix = self.compiler.compiler_type == "unix"
        if not unix:
            if not self.compiler.initialized:
                self.compiler.initialize()
            self.compiler.cc = shutil.which("clang-cl") or sys.exit("clang-cl is not on the PATH: install LLVM")
        for ext in self.extensions:
            ext.extra_compile_args = UNIX_FLAGS if unix else WINDOWS_FLAGS
            ext.extra_link_args = ["-pthread", "-lm"] if unix else []
        super().build_extensions()


setup(
    ext_modules=cythonize(
        [
            extension("conv", "conv.c", "winograd.c"),
            extension("im2col", "im2col.c"),
            extension("matmul", "matmul.c"),
            extension("norm", "norm.c"),
            extension("pooling", "maxpool.c", "avgpool.c"),
            extension("threads", "threads.c"),
            extension("update", "update.c"),
            extension("warp", "warp.c"),
        ],
        build_dir="build/cython",
        include_path=["src"],
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": DEBUG,
            "initializedcheck": DEBUG,
            "cdivision": True,
            "embedsignature": True,
        },
    ),
    cmdclass={"build_ext": BuildExt},
)
