from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "compress": ["zstandard"],
    "demo": ["scikit-learn", "pillow", "tqdm"],
    "html": ["jinja2", "pillow"],
    "log": ["visualdl", "tensorboard"],
    "onnx": ["onnx", "onnxruntime", "paddle2onnx"],
    "plot": ["matplotlib>=3.7"],
    "yaml": ["pyyaml"],
    "slim": [
        "paddleslim==2.6.0",
        "pyzmq",
        "six",
        "requests",
        "pandas",
        "scipy",
        "decorator",
        "setuptools<81",
        "numpy<2",
    ],
}
EXTRAS["all"] = sorted({need for extra in EXTRAS if extra != "slim" for need in EXTRAS[extra]})
EXTRAS["test"] = sorted({*EXTRAS["all"], "hypothesis", "pytest", "tensorboardX"})

setup(
    name="paddle_unstructured",
    version="0.1.0",
    description="Sparse neural networks in PaddlePaddle: pruning of static Programs, with masks in the graph",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["paddle_unstructured", "paddle_unstructured.*"]),
    package_data={"paddle_unstructured": ["reporting/*.html", "runtime/csrc/*", "runtime/csrc/*/*"]},
    entry_points={"console_scripts": ["paddle_unstructured = paddle_unstructured.cli:main"]},
    python_requires=">=3.9",
    install_requires=["paddlepaddle>=3.0", "numpy", "safetensors"],
    extras_require=EXTRAS,
)
