"""Builds the one package: ``pip install .`` and colcon's ament_python read this same file."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'lemore_ros'
# with --symlink-install colcon runs a link to this file, from a folder that lacks the rest
ROOT = Path(__file__).resolve().parent
# the oldest torch that JetPack 6 has wheels of is 2.3, its TensorRT is 10.3
TORCH, ONNXRUNTIME = ['torch>=2.3'], ['onnxruntime>=1.18', 'onnx>=1.15']
RECORDINGS, REPORT = ['rosbags', 'mcap', 'av'], ['bokeh', 'jinja2']


def shared_files() -> list[tuple[str, list[str]]]:
    """List what is installed in ``share/lemore_ros``: launch, config and data files."""
    share = Path('share', PACKAGE)
    folders: dict[Path, list[str]] = {share: ['package.xml']}
    for top in ('launch', 'config'):
        for path in sorted((ROOT / top).rglob('*')):
            if path.is_file() and '__pycache__' not in path.parts:
                name = path.relative_to(ROOT)
                folders.setdefault(share / name.parent, []).append(str(name))
    marker = 'share/ament_index/resource_index/packages'
    return [(marker, [f'resource/{PACKAGE}']), *((str(k), v) for k, v in folders.items())]


setup(
    name=PACKAGE,
    version='0.1.0',
    description='LeMoRe semantic segmentation of camera topics: label images and overlays',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    maintainer='lemore_ros developers',
    maintainer_email='lemore-ros@users.noreply.github.com',
    python_requires='>=3.10',
    packages=find_packages(include=['lemore_core*', 'lemore_ros*']),
    package_data={
        'lemore_core': [
            'py.typed',
            'evaluation/report.html',
            'export/street.*',
            'taxonomy/*.yaml',
            'taxonomy/groups/*.yaml',
            'training/recipes/*.yaml',
            'weights/*.onnx',
            'weights/*.safetensors',
        ],
        'lemore_ros': ['py.typed'],
    },
    data_files=shared_files(),
    zip_safe=False,
    install_requires=[
        'numpy',
        'opencv-python-headless',
        'pillow',
        'numba',
        'safetensors',
        'PyYAML',
        'filelock',
        'tqdm',
    ],
    extras_require={
        # what most want, in one word
        'cpu': [*ONNXRUNTIME, *TORCH, *RECORDINGS, *REPORT],
        'gpu': ['tensorrt>=10.3', *ONNXRUNTIME, *TORCH, *RECORDINGS, *REPORT],
        'onnxruntime': ONNXRUNTIME,
        'torch': TORCH,
        'tensorrt': ['tensorrt>=10.3', *TORCH, *ONNXRUNTIME],
        'train': ['torch', 'lightning>=2.6', 'torchmetrics', 'tensorboard'],
        'report': REPORT,
        'video': ['av'],
        'view': ['rerun-sdk'],
        'bag': RECORDINGS,
        'annotate': ['datumaro', 'label-studio-sdk'],
        'test': ['pytest', 'pytest-timeout', 'pytest-xdist'],
    },
    entry_points={
        'console_scripts': [
            'lemore = lemore_core.cli.main:main',
            'segmentation_node = lemore_ros.node.segmentation_node:run',
            'lemore_demo = lemore_ros.tools.demo:main',
            'measure_latency = lemore_ros.tools.measure_latency:main',
            'lemore_view = lemore_ros.tools.view:main',
        ],
        # commands that other packages add to lemore: modules with add_arguments and run
        'lemore.commands': ['bag = lemore_ros.bags.cli.main'],
        # what else images are read from: see Reader in lemore_core.sources
        'lemore.images': ['bag = lemore_ros.bags.images:open_images'],
    },
)
